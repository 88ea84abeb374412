"""Count what one warm POST executes: PYTHONPATH=layers/shared python -m tests.bench.warm_post

POST /voice/call/callback of our function, and the same of the textbook function: it stores a row,
dials, starts an execution and stores the call. AWS and the carrier are on 127.0.0.1; the carrier
speaks TLS. Python 3.13 is what Lambda runs: see --python.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.bench import build, instructions, warm
from tests.bench.build import Build
from tests.bench.events import Parties
from tests.bench.warm import Warm
from tests.bench.world import World, run_world

BAR = 2.0  # of the textbook function


class Compared(NamedTuple):
    """One request, ours and the textbook's."""

    ours: Warm
    textbook: Warm

    @property
    def ratio(self) -> float:
        return self.ours.instructions / self.textbook.instructions


def measure(made: Build, world: World, work: Path, requests: int = warm.REQUESTS) -> Compared:
    """Raises NotMeasured, NotBuilt or NotRedirected."""
    parties, each = Parties(), range(warm.WARM_UP + requests)
    ours = warm.our_function(made, world, "CallbackApi", work)
    textbook = warm.textbook_function(made, world, "create", work)
    measured = []
    for function, post in ((ours, parties.post), (textbook, parties.textbook_post)):
        before = len(world.carrier.created)
        # One request first: it must arrive at the local carrier.
        function.answer([post()])
        warm.check_dialed(world, before, 1)
        measured.append(function.measure([post() for _ in each], [post() for _ in each]))
        warm.check_dialed(world, before, 1 + 2 * len(each))
    return Compared(*measured)


def lines(compared: Compared, name: str, bar: float | None = None) -> list[str]:
    """Lines of a table: M instructions, the ratio, requests to AWS and to the carrier."""
    return [
        line(f"textbook {name}", compared.textbook),
        line(name, compared.ours, compared.ratio, bar),
    ]


def line(name: str, one: Warm, ratio: float | None = None, bar: float | None = None) -> str:
    calls = f"{one.aws:.1f} to AWS, {one.carrier:.1f} to the carrier"
    of_textbook = f"{ratio:7.2f} of the textbook" if ratio else ""
    at_most = f", at most {bar}" if bar else ""
    return f"{name:28}{one.instructions / 1e6:9.1f}{of_textbook}{at_most}  ({calls})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    build.add_arguments(parser)
    parser.add_argument("--requests", type=int, default=warm.REQUESTS, help="how many are counted")
    parser.add_argument(
        "--http", action="store_true", help="without TLS between function and carrier"
    )


def measure_alone(
    name: str, measure_one: Callable[[Build, World, Path, int], Compared]
) -> Compared:
    """Build, measure by the command's arguments, and print the heading."""
    parser = argparse.ArgumentParser(description=f"What one warm {name} executes.")
    add_arguments(parser)
    arguments = parser.parse_args()
    instructions.check()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        made = build.make(arguments, work)
        with run_world(work, tls=not arguments.http) as world:
            compared = measure_one(made, world, work, arguments.requests)
    print(f"M instructions of a warm {name}, Python {build.version(made.python)}")
    return compared


def main() -> int:
    compared = measure_alone("POST", measure)
    print(*lines(compared, "POST", BAR), sep="\n")
    return int(compared.ratio > BAR)


if __name__ == "__main__":
    sys.exit(main())
