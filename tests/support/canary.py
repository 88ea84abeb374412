"""A pytest plugin: no number, secret or body in anything that leaves the service but by its doors.

During the whole run it hears what functions print and log, what Lambda would log and tell of
their crashes, what is put into queues and what executions saw (tests/local/heard.py). The parties
of all tests are canaries: a test during which one of them is heard, or a key's secret, the
carrier's token, a task's token or a request's body, fails at its teardown, and is told where and
what kind. The canary itself is never printed.
"""

import contextlib
import json
import logging
import re
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from tests.local import heard, logs

_OURS = tuple(str(Path(__file__).parents[2] / folder) for folder in ("functions", "layers"))
# Not in the layer, so Lambda will never print what they log: they run here in its stead.
_NOT_DEPLOYED = ("aiohttp", "asyncio", "hypothesis", "moto", "responses", "tests", "werkzeug")

_KINDS = {
    "a number": re.compile(
        r"(?:\+|%2B)[1-9][0-9]{6,14}(?![0-9])|(?<![\w.-])1?41555[0-9]{5}(?![\w-])"
    ),
    # Who is called in most tests; a word of seven digits is nothing else in a log.
    "an extension": re.compile(r"(?<![\w.-])1000[0-9]{3}(?![\w-]|[.][0-9])"),
    "a sip: address": re.compile(r"sip:[^@\s\"']+@"),
    "a body": re.compile(r"""(?:leg_[AB]|AccountSid|CallStatus)(?:=|\\*["']\s*:)"""),
}
_TOKENS_KEPT = 500


class Canaries:
    """Knows them, looks for them, and remembers which were heard and where."""

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {}
        self._tokens: deque[str] = deque(maxlen=_TOKENS_KEPT)
        self._lock = threading.Lock()
        self.heard: set[tuple[str, str]] = set()

    def learn(self, kind: str, value: str) -> None:
        with self._lock:
            if kind == "a task token":
                self._tokens.append(value)
            else:
                self._secrets[value] = kind

    def listen(self, where: str, text: str) -> None:
        for kind in self.kinds_in(text, tokens=not where.startswith("the history")):
            self.heard.add((kind, where))

    def kinds_in(self, text: str, *, tokens: bool = True) -> set[str]:
        """An execution's history has its tasks' tokens from Step Functions itself."""
        kinds = {kind for kind, pattern in _KINDS.items() if pattern.search(text)}
        with self._lock:
            kinds |= {kind for value, kind in self._secrets.items() if value in text}
            if tokens and any(map(text.__contains__, self._tokens)):
                kinds.add("a task token")
        return kinds

    def forget(self) -> list[str]:
        """Where what kind was heard since the last time."""
        found, self.heard = self.heard, set()
        return sorted(f"{kind} in {where}" for kind, where in found)

    def listen_to_loggers(self, record: logging.LogRecord) -> None:
        function = logs.running()
        ours = record.pathname.startswith(_OURS)
        if ours or (function and not record.name.startswith(_NOT_DEPLOYED)):
            trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
            text = f"{record.getMessage()} {json.dumps(record.__dict__, default=str)} {trace}"
            self.listen(f"the log of {function or 'a test'}", text)


@contextlib.contextmanager
def listening(canaries: Canaries) -> Iterator[None]:
    """Also to what is logged outside a function: unit tests call modules by themselves."""
    handle = logging.Logger.handle

    def handle_and_listen(self: logging.Logger, record: logging.LogRecord) -> None:
        canaries.listen_to_loggers(record)
        handle(self, record)

    with (
        heard.listening(canaries.listen, canaries.learn),
        mock.patch.object(logging.Logger, "handle", handle_and_listen),
    ):
        yield


_canaries = Canaries()
_exit = contextlib.ExitStack()


def pytest_configure() -> None:
    _exit.enter_context(listening(_canaries))


def pytest_unconfigure() -> None:
    _exit.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """After the fixtures: a stack that ends tells what its executions and queues saw."""
    yield
    found = _canaries.forget()
    if found:
        pytest.fail("heard during this test, or since the last: " + "; ".join(found))
