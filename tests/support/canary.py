"""A pytest plugin that fails tests which leak a number, secret or body into logs, queues or
executions.

During the whole run it reads what functions print and log, what Lambda would log of their crashes,
the messages of queues and the histories of executions (tests/local/output_tap.py). The phone
numbers of all tests are canaries. A test fails at its teardown if a canary, a key's secret, the
carrier's token, a task's token or a request's body appears there. The failure names the place and
the kind of secret, and never prints the secret.
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

from tests.local import logs, output_tap

_OURS = tuple(str(Path(__file__).parents[2] / folder) for folder in ("functions", "layers"))
# These are not in the layer: they stand in for AWS here, so Lambda never prints their logs.
_NOT_DEPLOYED = ("aiohttp", "asyncio", "hypothesis", "moto", "responses", "tests", "werkzeug")

_KINDS = {
    "a number": re.compile(
        r"(?:\+|%2B)[1-9][0-9]{6,14}(?![0-9])|(?<![\w.-])1?41555[0-9]{5}(?![\w-])"
    ),
    # The parties of most tests. No other word in a log has seven digits.
    "an extension": re.compile(r"(?<![\w.-])1000[0-9]{3}(?![\w-]|[.][0-9])"),
    "a sip: address": re.compile(r"sip:[^@\s\"']+@"),
    "a body": re.compile(r"""(?:leg_[AB]|AccountSid|CallStatus)(?:=|\\*["']\s*:)"""),
}
_TOKENS_KEPT = 500


class Canaries:
    """Holds the secrets, searches texts for them, and records which appeared and where."""

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {}
        self._tokens: deque[str] = deque(maxlen=_TOKENS_KEPT)
        self._lock = threading.Lock()
        self.leaks: set[tuple[str, str]] = set()

    def learn(self, kind: str, value: str) -> None:
        with self._lock:
            if kind == "a task token":
                self._tokens.append(value)
            else:
                self._secrets[value] = kind

    def listen(self, where: str, text: str) -> None:
        for kind in self.kinds_in(text, tokens=not where.startswith("the history")):
            self.leaks.add((kind, where))

    def kinds_in(self, text: str, *, tokens: bool = True) -> set[str]:
        """Step Functions itself writes task tokens into an execution's history."""
        kinds = {kind for kind, pattern in _KINDS.items() if pattern.search(text)}
        with self._lock:
            kinds |= {kind for value, kind in self._secrets.items() if value in text}
            if tokens and any(map(text.__contains__, self._tokens)):
                kinds.add("a task token")
        return kinds

    def forget(self) -> list[str]:
        """The leaks since the last call: place and kind of secret."""
        leaks, self.leaks = self.leaks, set()
        return sorted(f"{kind} in {where}" for kind, where in leaks)

    def listen_to_loggers(self, record: logging.LogRecord) -> None:
        function = logs.running_function()
        ours = record.pathname.startswith(_OURS)
        if ours or (function and not record.name.startswith(_NOT_DEPLOYED)):
            trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
            text = f"{record.getMessage()} {json.dumps(record.__dict__, default=str)} {trace}"
            self.listen(f"the log of {function or 'a test'}", text)


@contextlib.contextmanager
def listening(canaries: Canaries) -> Iterator[None]:
    """Listens to logging outside functions too: unit tests call modules directly."""
    handle = logging.Logger.handle

    def handle_and_listen(self: logging.Logger, record: logging.LogRecord) -> None:
        canaries.listen_to_loggers(record)
        handle(self, record)

    with (
        output_tap.listen(canaries.listen, canaries.learn),
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
    """Runs after the fixtures: a stack reports its executions and queues when it ends."""
    yield
    leaks = _canaries.forget()
    if leaks:
        pytest.fail("leaked during this test, or since the last one: " + "; ".join(leaks))
