"""`python -m tests.local`: starts the service, prints how to use it, and stops it on a signal."""

import argparse
import sys

from tests.local import logs
from tests.local.arguments import pace
from tests.local.carrier import Settings
from tests.local.interruption import Interruption
from tests.local.outgoing import Undelivered
from tests.local.receiver import Received, Receiver
from tests.local.stack import NUMBER, TENANT, CarrierNotRedirected, LocalStack
from tests.local.template import REGION, TemplateError

_EXAMPLE = (
    '{"leg_A": {"to": "1000123", "from": "1000125"}, "leg_B": {"to": "1000125", "from": "1000123"}}'
)


def serve(arguments: argparse.Namespace, interruption: Interruption) -> int:
    """Run the service until a signal comes. Returns the exit status."""
    try:
        receiver = Receiver(on_request=_print_webhook)
        stack = LocalStack(
            arguments.speed,
            arguments.port,
            arguments.carrier_port,
            carrier_settings=Settings(calls_per_second=arguments.cps) if arguments.cps else None,
            parameters={"CallsPerSecond": f"{arguments.cps:g}"} if arguments.cps else None,
            on_log=_print_log if arguments.logs else None,
            receiver=receiver,
            on_undelivered=_report_undelivered_to(receiver),
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


# Several threads print these lines. print() writes its line end separately, so another thread's
# text could come before it. So each text carries its own line end.


def _print_log(line: logs.Line) -> None:
    print(f"{line.function}: {line.text}\n", end="", file=sys.stderr, flush=True)


def _print_webhook(received: Received) -> None:
    webhook_id = received.headers.get("webhook-id")
    print(f"webhook {webhook_id}: {received.body.decode()}\n", end="", flush=True)


def _report_undelivered_to(receiver: Receiver) -> Undelivered:
    def report(webhook_id: str, url: str, reason: str) -> None:
        print(
            f"not delivered: {webhook_id} to {url} ({reason}):"
            f" here, webhooks go to {receiver.url} and nowhere else\n",
            end="",
            flush=True,
        )

    return report


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
webhooks   {receiver.url} (an endpoint that prints every webhook)
docs       {stack.url}/docs
time       {pace(stack.clock.speed)}

Call two parties, then read the callback:
  curl -i {url} -H 'Authorization: Bearer {stack.key}' \\
    -H 'Content-Type: application/json' \\
    -d '{_EXAMPLE}'
  curl {url} -H 'Authorization: Bearer {stack.key}'
Receive a webhook for every event:
  curl -X PUT {stack.url}/voice/webhook/endpoint -H 'Authorization: Bearer {stack.key}' \\
    -H 'Content-Type: application/json' -d '{{"url": "{receiver.url}"}}'
Manage tenants, keys, numbers and policies (ARGS=--help; --pepper is not needed here):
  {_operator(stack)} \\
    make admin ARGS='show-policy {TENANT} --table {stack.table_name}'
{_telephone(stack)}
Ctrl-C stops it.""",
        flush=True,
    )


def _operator(stack: LocalStack) -> str:
    """The environment variables that point the operator's command to the local AWS."""
    variables = {
        "AWS_ENDPOINT_URL": stack.aws.url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": REGION,
    }
    return " ".join(f"{name}={value}" for name, value in variables.items())


def _telephone(stack: LocalStack) -> str:
    """How to text the number. Only the simulator has telephones."""
    if stack.carrier is None:
        return ""
    text = f'{{"to": "{NUMBER}", "from": "+14155550118", "body": "CALL ME"}}'
    return f"""
Text it, from a simulated telephone:
  curl {stack.carrier_url}/sim/inbound-sms -d '{text}'
"""
