"""Lambda's sandbox for a function that `sam build` made: a process with nothing else in it.

It sees the built function, the built layer and the standard library, under exactly the function's
environment. It imports the handler once, as a cold start does; each event is then answered in a
copy of it as it is after the import, so that no event finds what another has left.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# -I and -S: no variable, no folder and no site-packages of this machine finds its way in.
# What libraries log is printed, as Lambda does where LogLevel is DEBUG.
# Answers have a channel of their own; whatever is printed goes to the log.
_RUN = """
import json, logging, os, sys, traceback
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
logging.basicConfig(stream=sys.stdout, level=logging.DEBUG)
sys.path[:0] = sys.argv[1:]
class Context:
    function_name = memory_limit_in_mb = invoked_function_arn = aws_request_id = "test"
    def get_remaining_time_in_millis(self):
        return 50_000
import handler

def say(said):
    print(json.dumps(said), file=answers, flush=True)

def answer(path, before):
    exec(before, globals())
    with open(path) as event:
        answered = handler.handler(json.load(event), Context())
    strangers = sorted(
        name for name, module in sys.modules.items()
        if (path := getattr(module, "__file__", None) or "") and "site-packages" in path
    )
    say({"answer": answered, "strangers": strangers})

for line in sys.stdin:
    sys.stdout.flush()
    if (copy := os.fork()) == 0:
        try:
            answer(*json.loads(line))
            failed = False
        except BaseException:
            traceback.print_exc()
            failed = True
        sys.stdout.flush()
        os._exit(failed)
    if os.waitpid(copy, 0)[1]:
        say(None)
sys.stdout.flush()
os._exit(0)  # with nothing left to take down
"""


class Sandbox:
    """`log` grows as the function prints."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log
        self._read = 0

    def answer(self, event: Path, before: str) -> Any:
        """The handler's answer to an event; `before` is Python that is run ahead of it.

        Fails if the handler raises, or has something imported that is not deployed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died at its import, and says of what
            print(json.dumps([str(event), before]), file=self._process.stdin, flush=True)
        said = json.loads(self._process.stdout.readline() or "null")
        assert said is not None, self._log.read_text(encoding="utf-8", errors="replace")
        assert said["strangers"] == []
        return said["answer"]

    def printed(self) -> str:
        """What was printed since this was asked last."""
        text = self._log.read_bytes()
        new, self._read = text[self._read :], len(text)
        return new.decode()


@contextlib.contextmanager
def run_sandbox(
    function: Path, layer: Path, environment: Mapping[str, str], log: Path
) -> Iterator[Sandbox]:
    with (
        log.open("wb") as printed,
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _RUN, str(function), str(layer)],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            text=True,
        ) as process,
    ):
        yield Sandbox(process, log)
