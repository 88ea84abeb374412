"""Count what a cold start executes: PYTHONPATH=layers/shared python -m tests.bench.cold_start

Each handler is imported in a process of its own, from the built layer, and valgrind counts the
instructions. The number is the same on every machine and in every run, to a thousandth. It contains
the start of Python itself, and neither the network nor the disk. The textbook functions are what
the documentation of AWS, Powertools and Twilio leads to: they are the measure.

`--python` names another interpreter, with pip: what Lambda runs is 3.13. `--layer` is a layer that
is built already, for that interpreter.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.functions.cold_start import FUNCTIONS
from tests.local import environment

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers" / "shared"
TEXTBOOK = Path(__file__).parent / "textbook"

# What each function may cost, as a share of the textbook function that answers the same request.
BARS = {"CallbackApi": 0.75, "CarrierWebhook": 0.72}

# Those of our functions that a client's request waits for are compared with the textbook's create.
LIKE_CREATE = {"CallbackApi", "Trigger", "AcceptTrigger", "PlaceLeg"}

_TEXTBOOK_ENVIRONMENT = {
    "CALLER_ID": "+14155550100",
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
_COUNT = re.compile(r"I\s+refs:\s+([0-9,]+)")


class NotMeasured(Exception):
    """A handler could not be imported, or valgrind did not count."""


def instructions(
    python: str, function: Path, layer: Path, variables: Mapping[str, str], then: str = "pass"
) -> int:
    """What one cold start executes. The second run counts: the first finds no compiled files of the
    handler itself. `then` is Python that runs after the import. Raises NotMeasured."""
    valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no"]
    command = [python, "-I", "-S", "-c", f"{_IMPORT}\n{then}\n{_END}", str(function), str(layer)]
    for counted in ([], [*valgrind, "--cachegrind-out-file=/dev/null"]):
        done = subprocess.run(
            [*counted, *command], env=variables, check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise NotMeasured(done.stderr)
    found = _COUNT.search(done.stderr)
    if found is None:
        raise NotMeasured(done.stderr)
    return int(found[1].replace(",", ""))


def built_layer(python: str, into: Path) -> Path:
    """The layer's folder for the interpreter, as `sam build` makes it for Lambda's."""
    _run(
        [
            *("make", "--no-print-directory", "-C", str(LAYER), "build-SharedLayer"),
            *(f"ARTIFACTS_DIR={into}", "LAYER_ARCH=host", f"PYTHON={python}"),
            f"LAYER_PYTHON={_version(python)}",
        ]
    )
    return into / "python"


def textbook_layer(python: str, into: Path) -> Path:
    """What pip installs for the textbook functions, compiled, with the layer's versions."""
    _run(
        [
            *(python, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(into)),
            *("--disable-pip-version-check", "--root-user-action=ignore"),
            *("--constraint", str(ROOT / "tests" / "constraints.txt")),
            *("--requirement", str(TEXTBOOK / "requirements.txt")),
        ]
    )
    _compile(python, into)
    return into


def copied(python: str, folder: Path, into: Path) -> Path:
    """A copy of a function's folder, compiled."""
    shutil.copytree(folder, into, ignore=shutil.ignore_patterns("__pycache__"))
    _compile(python, into)
    return into


def _compile(python: str, folder: Path) -> None:
    mode = "--invalidation-mode=unchecked-hash"
    _run([python, "-m", "compileall", "-q", "-j", "0", mode, str(folder)])


def _version(python: str) -> str:
    said = "import sys; print('%d.%d' % sys.version_info[:2])"
    return _run([python, "-c", said]).strip()


def _run(command: list[str]) -> str:
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, env=kept, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotMeasured(done.stdout + done.stderr)
    return done.stdout


def measured(python: str, layer: Path | None, work: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Instructions of the textbook functions, and of ours by logical id. Raises NotMeasured."""
    whole = textbook_layer(python, work / "textbook-layer")
    like_lambda = next(iter(FUNCTIONS.values()))
    textbook = {
        name: instructions(
            python,
            copied(python, TEXTBOOK / name, work / "textbook" / name),
            whole,
            environment.of_function(like_lambda, "http://127.0.0.1:9") | _TEXTBOOK_ENVIRONMENT,
        )
        for name in ("create", "webhook")
    }
    layer = layer or built_layer(python, work / "layer")
    ours = {}
    for name, function in sorted(FUNCTIONS.items()):
        folder = copied(python, function.folder, work / "functions" / name)
        variables = environment.of_function(function, "http://127.0.0.1:9")
        ours[name] = instructions(python, folder, layer, variables)
        if name in FIRST_REQUESTS:
            request, then = FIRST_REQUESTS[name]
            ours[f"{name} {request}"] = instructions(python, folder, layer, variables, then)
    return textbook, ours


def compared_with(name: str) -> str:
    """Which of the textbook functions does what ours does."""
    return "create" if name.partition(" ")[0] in LIKE_CREATE else "webhook"


def main() -> int:
    parser = argparse.ArgumentParser(description="What a cold start executes.")
    parser.add_argument("--python", default=os.path.realpath(sys.executable))
    parser.add_argument("--layer", type=Path, help="a built layer's python folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        textbook, ours = measured(arguments.python, arguments.layer, Path(work))
    print(f"M instructions of a cold start, Python {_version(arguments.python)}")
    for name, count in textbook.items():
        print(f"{'textbook ' + name:28}{count / 1e6:8.0f}")
    missed = False
    for name, count in ours.items():
        ratio = count / textbook[compared_with(name)]
        bar = BARS.get(name)
        missed |= bar is not None and ratio > bar
        print(
            f"{name:28}{count / 1e6:8.0f}{ratio:7.2f} of the textbook {compared_with(name)}"
            + (f", at most {bar}" if bar else "")
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
