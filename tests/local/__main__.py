"""`python -m tests.local`: the whole service on this machine until interrupted."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from tests.local import arguments
from tests.local.interruption import Interruption


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.local", description=__doc__)
    parser.add_argument(
        "--port", type=arguments.port, default=0, help="of the API; a free one without it"
    )
    parser.add_argument(
        "--carrier-port", type=arguments.port, default=0, help="of the simulated carrier; likewise"
    )
    parser.add_argument(
        "--speed",
        type=arguments.speed,
        default=1.0,
        help="virtual seconds in a real one (default 1)",
    )
    parser.add_argument(
        "--cps",
        type=arguments.calls_per_second,
        help="calls per second, of the service and of the simulated carrier (default: the service"
        " delays nothing, and the carrier dials 1)",
    )
    parser.add_argument("--logs", action="store_true", help="print what the functions log")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    chosen = _arguments(argv)
    interruption = Interruption(status=0)
    print("starting...", flush=True)
    # These imports take seconds, so they come only now.
    serving = importlib.import_module("tests.local.serving")
    status: int = serving.serve(chosen, interruption)
    return status


if __name__ == "__main__":
    sys.exit(main())
