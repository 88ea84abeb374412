"""What functions print, kept by function: Lambda would send it to the function's log group."""

import contextlib
import io
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import NamedTuple, TextIO

from tests.local import output_tap

# Lines kept; a long-running stack must not grow without bound.
_LINES_KEPT = 20_000

_running: ContextVar[str | None] = ContextVar("the function whose output this is", default=None)


class Line(NamedTuple):
    function: str
    text: str


class _Output(io.TextIOBase):
    """Standard output that knows which function is printing.

    There is one for the whole process and it stays the same object from stack to stack, because
    a logger keeps the stream it was made with. What is printed outside a function goes where
    standard output went before.
    """

    def __init__(self) -> None:
        self.lines: deque[Line] = deque(maxlen=_LINES_KEPT)
        self.listener: Callable[[Line], None] | None = None
        self.elsewhere: TextIO = sys.__stdout__ or io.StringIO()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        function = _running.get()
        if function is None:
            return self.elsewhere.write(text)
        for part in text.splitlines():
            if part.strip():
                line = Line(function, part)
                self.lines.append(line)
                output_tap.report_text(f"the log of {function}", part)
                if self.listener is not None:
                    self.listener(line)
        return len(text)

    def flush(self) -> None:
        if _running.get() is None:
            self.elsewhere.flush()


_output = _Output()


@contextlib.contextmanager
def collected(listener: Callable[[Line], None] | None = None) -> Iterator[deque[Line]]:
    """Collect what functions print in the block, newest last; `listener` hears each line at
    once, on the function's own thread."""
    _output.lines = deque(maxlen=_LINES_KEPT)
    _output.listener = listener
    before = sys.stdout
    if before is not _output:
        _output.elsewhere = before
    sys.stdout = _output
    try:
        yield _output.lines
    finally:
        _output.listener = None
        # Another owner (a test runner's capture) may have replaced it meanwhile.
        if sys.stdout is _output:
            sys.stdout = before


@contextlib.contextmanager
def write_as(function: str) -> Iterator[None]:
    """This thread's output in the block belongs to `function`."""
    token = _running.set(function)
    try:
        yield
    finally:
        _running.reset(token)


def running_function() -> str | None:
    """The function that runs on this thread."""
    return _running.get()


def write(text: str) -> None:
    """Write to the log of the running function."""
    _output.write(text)


def stream() -> TextIO:
    """The stream a function's logger should be made with."""
    return _output  # type: ignore[return-value]
