"""`python -m tests.local`: the whole service on this machine until interrupted."""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from tests.local import logs
from tests.local.receiver import Received, Receiver
from tests.local.stack import NUMBER, CarrierNotRedirected, LocalStack
from tests.local.template import TemplateError

_WAKE_SECONDS = 0.2
_EXAMPLE = (
    '{"leg_A": {"to": "1000123", "from": "1000125"}, "leg_B": {"to": "1000125", "from": "1000123"}}'
)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.local", description=__doc__)
    parser.add_argument("--port", type=_port, default=0, help="of the API; a free one without it")
    parser.add_argument(
        "--carrier-port", type=_port, default=0, help="of the simulated carrier; likewise"
    )
    parser.add_argument(
        "--speed", type=_speed, default=1.0, help="virtual seconds in a real one (default 1)"
    )
    parser.add_argument("--logs", action="store_true", help="print what the functions log")
    return parser.parse_args(given)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not a port")
    return port


def _speed(text: str) -> float:
    speed = float(text)
    if not 0 < speed <= 1000:
        raise argparse.ArgumentTypeError("speed is more than 0 and at most 1000")
    return speed


def _print_log(line: logs.Line) -> None:
    print(f"{line.function}: {line.text}", file=sys.stderr, flush=True)


def _print_webhook(received: Received) -> None:
    print(f"webhook {received.headers.get('webhook-id')}: {received.body.decode()}", flush=True)


def main(given: Sequence[str] | None = None) -> int:
    arguments = _arguments(given)
    interrupted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: interrupted.set())
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
            _introduce(stack, receiver)
            # The system may give the signal to any thread, and only this one acts on it: it has
            # to wake up by itself.
            while not interrupted.wait(_WAKE_SECONDS):
                pass
            print("stopping", flush=True)
    except (CarrierNotRedirected, OSError, TemplateError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        print(f"tests.local: {reason}", file=sys.stderr)
        return 1
    return 0


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
time       {stack.clock.speed:g} virtual seconds in a real one

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


if __name__ == "__main__":
    sys.exit(main())
