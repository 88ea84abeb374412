"""Count what a cold start executes: PYTHONPATH=layers/shared python -m tests.bench.cold_start

Each handler is imported in a process of its own, from the built layer, and valgrind counts the
instructions. The number is the same on every machine and in every run, to a thousandth. It contains
the start of Python itself, and neither the network nor the disk. The textbook functions are what
the documentation of AWS, Powertools and Twilio leads to: they are the measure.
"""

import argparse
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.bench import build, instructions
from tests.bench.build import Build
from tests.functions.cold_start import FUNCTIONS
from tests.local import environment

# What each function may cost, as a share of the textbook function that answers the same request.
BARS = {"CallbackApi": 0.75, "CarrierWebhook": 0.72}

# Those of our functions that a client's request waits for are compared with the textbook's create.
LIKE_CREATE = {"CallbackApi", "Trigger", "AcceptTrigger", "PlaceLeg"}

_TEXTBOOK_ENVIRONMENT = {
    "CALLER_ID": "+14155550100",
    "STATUS_URL": "https://callback.example.com/carrier/status",
    "STATE_MACHINE_ARN": "arn:aws:states:us-east-1:123456789012:stateMachine:callback",
    "TABLE_NAME": "callback",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "made up",
    "TWIML_URL": "https://callback.example.com/carrier/twiml",
}

# As in the tests' sandbox: nothing of this machine is on the path.
_IMPORT = "import sys; sys.path[:0] = sys.argv[1:]; import handler"
_END = "import os; os._exit(0)"  # with nothing left to take down

# What the first request adds where a function imports or makes something only when it needs it.
_FIRST_POST = """
import callback.requests.schema
handler.carrier.carrier, handler.workflow._client(), handler.parameters._client()
"""
FIRST_REQUESTS = {
    "CallbackApi": ("POST", _FIRST_POST),
    "CarrierWebhook": (
        "that settles",
        "handler.workflow._client(); handler.credentials._parameters._client()",
    ),
}


class ColdStart(NamedTuple):
    """M instructions of one cold start, and of the textbook function that does the same."""

    name: str
    instructions: int
    textbook: str
    ratio: float
    bar: float | None

    @property
    def is_missed(self) -> bool:
        return self.bar is not None and self.ratio > self.bar


def count(
    python: str,
    function: Path,
    packages: tuple[Path, ...],
    variables: Mapping[str, str],
    then: str = "pass",
) -> int:
    """Instructions of one cold start. `then` is Python that runs after the import.

    The second run counts: the first finds no compiled files of the handler itself. Raises
    NotMeasured.
    """
    source = f"{_IMPORT}\n{then}\n{_END}"
    command = [python, "-I", "-S", "-c", source, str(function), *map(str, packages)]
    instructions.run(command, variables)
    (counted,) = instructions.count(command, variables)
    return counted


def measure_textbook(made: Build, work: Path) -> dict[str, int]:
    """Instructions by the textbook function's name. Raises NotMeasured."""
    like_lambda = next(iter(FUNCTIONS.values()))
    variables = environment.of_function(like_lambda, "http://127.0.0.1:9") | _TEXTBOOK_ENVIRONMENT
    counts = {}
    for name in ("create", "webhook"):
        folder = build.copy_function(made.python, build.TEXTBOOK / name, work / "cold" / name)
        counts[name] = count(made.python, folder, made.textbook, variables)
    return counts


def measure(
    made: Build, work: Path, names: Collection[str], textbook: Mapping[str, int]
) -> list[ColdStart]:
    """Cold starts of functions by logical id. Raises NotMeasured."""
    rows = []

    def add(name: str, counted: int) -> None:
        like = "create" if name.partition(" ")[0] in LIKE_CREATE else "webhook"
        ratio = counted / textbook[like]
        rows.append(ColdStart(name, counted, like, ratio, BARS.get(name)))

    for name in sorted(names):
        function = FUNCTIONS[name]
        folder = build.copy_function(made.python, function.folder, work / "cold" / name)
        variables = environment.of_function(function, "http://127.0.0.1:9")
        add(name, count(made.python, folder, made.ours, variables))
        if name in FIRST_REQUESTS:
            request, then = FIRST_REQUESTS[name]
            add(f"{name} {request}", count(made.python, folder, made.ours, variables, then))
    return rows


def lines(rows: list[ColdStart], textbook: Mapping[str, int]) -> list[str]:
    """Lines of a table: M instructions and the ratio."""
    return [
        *(f"{'textbook ' + name:28}{counted / 1e6:9.0f}" for name, counted in textbook.items()),
        *(
            f"{row.name:28}{row.instructions / 1e6:9.0f}{row.ratio:7.2f}"
            f" of the textbook {row.textbook}" + (f", at most {row.bar}" if row.bar else "")
            for row in rows
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="What a cold start executes.")
    build.add_arguments(parser)
    parser.add_argument(
        "functions", nargs="*", metavar="function", help="logical ids (default: all)"
    )
    arguments = parser.parse_args()
    instructions.check()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        made = build.make(arguments, work)
        textbook = measure_textbook(made, work)
        rows = measure(made, work, arguments.functions or FUNCTIONS, textbook)
    print(f"M instructions of a cold start, Python {build.version(made.python)}")
    print(*lines(rows, textbook), sep="\n")
    return int(any(row.is_missed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
