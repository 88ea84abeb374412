"""Measure the service and the textbook functions in one run, and print one table: `make bench`.

The parts, each also a command of its own (`python -m tests.bench.<part> --help`): `cold_start` (all
functions), `warm_post`, `warm_webhook`, `second_leg`. Instructions are counted by valgrind; only
the second leg's delay depends on the machine.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.bench import build, cold_start, instructions, second_leg, warm, warm_post, warm_webhook
from tests.bench.instructions import NotMeasured
from tests.bench.world import run_world

UNCOUNTED = ("size", "second_leg")
PARTS = ("size", "cold_start", "warm_post", "warm_webhook", "second_leg")
# Those that somebody waits for.
FUNCTIONS = ("Authorizer", "CallbackApi", "CarrierWebhook", "PlaceLeg")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make bench", description="Compare the service with textbook functions."
    )
    build.add_arguments(parser)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--requests", type=int, default=warm.REQUESTS, help="of a warm function")
    parser.add_argument("--callbacks", type=int, default=200, help="for the second leg's delay")
    arguments = parser.parse_args()
    parts = [part for part in PARTS if part in arguments.parts]
    if not set(parts) <= set(UNCOUNTED):
        instructions.check()
    with tempfile.TemporaryDirectory() as folder:
        return _measure(arguments, parts, Path(folder))


def _measure(arguments: argparse.Namespace, parts: list[str], work: Path) -> int:
    missed: list[str] = []
    print("Building the layer and the textbook functions ...", file=sys.stderr, flush=True)
    made = build.make(arguments, work)
    print(f"{f'Python {build.version(made.python)}':28}{'M instr.':>9}")
    for part in parts:
        print(f"Measuring {part} ...", file=sys.stderr, flush=True)
        match part:
            case "size":
                files, packed = build.size(made.ours[0])
                lines = [f"{'layer, MB':28}{files / 1e6:9.1f}  ({packed / 1e6:.1f} as a zip file)"]
            case "cold_start":
                textbook = cold_start.measure_textbook(made, work)
                rows = cold_start.measure(made, work, FUNCTIONS, textbook)
                lines = [f"cold {line}" for line in cold_start.lines(rows, textbook)]
                missed += [f"cold {row.name}" for row in rows if row.is_missed]
            case "warm_post":
                with run_world(work) as world:
                    post = warm_post.measure(made, world, work, arguments.requests)
                lines = warm_post.lines(post, "POST", warm_post.BAR)
                missed += ["POST"] if post.ratio > warm_post.BAR else []
            case "warm_webhook":
                with run_world(work) as world:
                    webhook = warm_webhook.measure(made, world, work, arguments.requests)
                lines = warm_post.lines(webhook, "webhook")
            case "second_leg":
                lines = second_leg.lines(arguments.callbacks)
            case _:
                raise NotMeasured(part)
        print(*lines, sep="\n", flush=True)
    if missed:
        print(f"over the bar: {', '.join(missed)}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
