"""`python -m tests.local.carrier --port 8001`: the carrier simulator alone."""

import argparse
import asyncio
import os
import secrets
import signal
import sys
from typing import Any

from tests.local.clock import Clock

from . import parameters
from .scenario import apply, read
from .settings import Settings
from .simulator import CarrierSimulator


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.local.carrier", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="a free one when left out")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="times faster than real; 0: stepped by API"
    )
    parser.add_argument("--cps", type=float, default=1.0, help="calls per second (1)")
    parser.add_argument("--scenario", help="JSON file: settings, behaviours, faults, numbers")
    parser.add_argument("--seed", type=int, help="makes SIDs and faults repeatable")
    parser.add_argument(
        "--number",
        action="append",
        default=[],
        metavar="E164[=VOICE_URL]",
        help="a number of the account, with its voice URL; may be repeated",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="send webhooks to this host too; without it only loopback addresses are reached",
    )
    parser.add_argument("--quiet", action="store_true", help="no line per event")
    return parser


def main() -> int:
    options = parser().parse_args()
    try:
        asyncio.run(_serve(_simulator(options)))
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        print(f"tests.local.carrier: {reason}", file=sys.stderr)
        return 1
    return 0


def _simulator(options: argparse.Namespace) -> CarrierSimulator:
    """Raises OSError and ValueError for what the options name and is not there, or makes no
    sense."""
    clock = Clock(options.speed) if options.speed else Clock(stepped=True)
    account_sid = os.environ.get("TWILIO_ACCOUNT_SID") or f"AC{secrets.token_hex(16)}"
    auth_token = os.environ.get("TWILIO_AUTH_TOKEN") or secrets.token_hex(16)
    simulator = CarrierSimulator(
        account_sid,
        auth_token,
        clock=clock,
        host=options.host,
        port=options.port,
        settings=Settings(calls_per_second=options.cps, allow_hosts=tuple(options.allow_host)),
        seed=options.seed,
    )
    for entry in options.number:
        number, _, voice_url = entry.partition("=")
        if parameters.number(number) != number:
            raise ValueError(f"--number {number}: give it as E.164, such as +14155550100")
        simulator.exchange.add_number(number, voice_url=voice_url)
    if options.scenario:
        apply(simulator.exchange, _scenario(options.scenario))
    if not options.quiet:
        simulator.subscribe(_print_event)
    return simulator


def _scenario(path: str) -> dict[str, Any]:
    """Raises ValueError."""
    try:
        return read(path)
    except OSError as error:
        raise ValueError(f"--scenario {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"--scenario {path}: {error}") from error


async def _serve(simulator: CarrierSimulator) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    await simulator.serve(stopping, lambda: _greet(simulator))


def _greet(simulator: CarrierSimulator) -> None:
    exchange = simulator.exchange
    print(f"carrier simulator at {exchange.url} (a live page is there too)")
    print(f"  TWILIO_ACCOUNT_SID={exchange.account_sid}")
    print(f"  TWILIO_AUTH_TOKEN={exchange.auth_token}")
    print(f'  client.api.base_url = "{exchange.url}"')
    print("parties (as number, sip: or client: address; 10002NN is also …555-01NN):")
    for match, note in exchange.scripts.table():
        print(f"  {match:<9}  {note}")
    print("Ctrl-C stops it.", flush=True)


def _print_event(event: dict[str, Any]) -> None:
    details = " ".join(
        f"{name}={value}"
        for name, value in event.items()
        if name not in ("at", "seconds", "kind", "subject") and value != ""
    )
    print(
        f"{event['seconds']:10.1f}  {event['kind']:<20} {event['subject'][:10]}  {details}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
