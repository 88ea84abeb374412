"""`python -m tests.local`, once it is under way: the service, what to do with it, its end."""

import argparse
import sys

from tests.local import logs
from tests.local.arguments import pace
from tests.local.interruption import Interruption
from tests.local.receiver import Received, Receiver
from tests.local.stack import NUMBER, CarrierNotRedirected, LocalStack
from tests.local.template import TemplateError

_EXAMPLE = (
    '{"leg_A": {"to": "1000123", "from": "1000125"}, "leg_B": {"to": "1000125", "from": "1000123"}}'
)


def serve(arguments: argparse.Namespace, interruption: Interruption) -> int:
    """Until interrupted; the exit status."""
    try:
        receiver = Receiver(heard=_print_webhook)
        stack = LocalStack(
            arguments.speed,
            arguments.port,
            arguments.carrier_port,
            on_log=_print_log if arguments.logs else None,
            receiver=receiver,
        )
        with receiver, stack:
            interruption.defer()
            _introduce(stack, receiver)
            interruption.wait()
            print("stopping", flush=True)
    except (CarrierNotRedirected, OSError, TemplateError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        print(f"tests.local: {reason}", file=sys.stderr)
        return 1
    return 0


def _print_log(line: logs.Line) -> None:
    print(f"{line.function}: {line.text}", file=sys.stderr, flush=True)


def _print_webhook(received: Received) -> None:
    print(f"webhook {received.headers.get('webhook-id')}: {received.body.decode()}", flush=True)


def _introduce(stack: LocalStack, receiver: Receiver) -> None:
    simulated = "simulator" if stack.carrier else "as CARRIER_API_URL says"
    url = f"{stack.url}/voice/call/callback"
    print(
        f"""\
API        {url}
carrier    {stack.carrier_url} ({simulated})
account    {stack.account_sid}
token      {stack.auth_token}
API key    {stack.key}
number     {NUMBER} (takes texts and missed calls)
AWS        {stack.aws.url} (table {stack.table_name})
webhooks   {receiver.url} (an endpoint that prints what it is told)
docs       {stack.url}/docs
time       {pace(stack.clock.speed)}

Call two parties, then see what became of it:
  curl -i {url} -H 'Authorization: Bearer {stack.key}' \\
    -H 'Content-Type: application/json' \\
    -d '{_EXAMPLE}'
  curl {url} -H 'Authorization: Bearer {stack.key}'
Be told of everything that happens:
  curl -X PUT {stack.url}/voice/webhook/endpoint -H 'Authorization: Bearer {stack.key}' \\
    -H 'Content-Type: application/json' -d '{{"url": "{receiver.url}"}}'
{_telephone(stack)}
Ctrl-C stops it.""",
        flush=True,
    )


def _telephone(stack: LocalStack) -> str:
    """How to text the number; only the simulator has telephones to do so."""
    if stack.carrier is None:
        return ""
    text = f'{{"to": "{NUMBER}", "from": "+14155550118", "body": "CALL ME"}}'
    return f"""
Text it, from a simulated telephone:
  curl {stack.carrier_url}/sim/inbound-sms -d '{text}'
"""
