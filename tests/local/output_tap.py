"""Passes on the text that the service writes to logs, queues, executions and traces.

Each writer reports its text here. A listener (tests/support/canary.py) receives all of it.
"""

import contextlib
from collections.abc import Callable, Iterator

Listener = Callable[[str, str], None]

_listeners: list[Listener] = []
_secret_listeners: list[Listener] = []


def report_text(where: str, text: str) -> None:
    """Report `text` written to `where`, such as "the log of local-place-leg"."""
    for listener in _listeners:
        listener(where, text)


def report_secret(kind: str, value: str) -> None:
    """Report `value` as a secret of the given kind, such as "a task token"."""
    for listener in _secret_listeners:
        listener(kind, value)


@contextlib.contextmanager
def listen(to_text: Listener, to_secrets: Listener) -> Iterator[None]:
    """Call the listeners for every report inside the block."""
    _listeners.append(to_text)
    _secret_listeners.append(to_secrets)
    try:
        yield
    finally:
        _listeners.remove(to_text)
        _secret_listeners.remove(to_secrets)
