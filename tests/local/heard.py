"""Collects the text that the service writes to logs, queues, executions and traces.

Each place that writes such text reports it here, and a listener (tests/support/canary.py) gets it
all.
"""

import contextlib
from collections.abc import Callable, Iterator

Listener = Callable[[str, str], None]

_listeners: list[Listener] = []
_secret_listeners: list[Listener] = []


def told(where: str, text: str) -> None:
    """`text` was written to `where`, such as "the log of local-place-leg"."""
    for listener in _listeners:
        listener(where, text)


def secret(kind: str, value: str) -> None:
    """From now on `value` is a secret of some kind, such as "a task token"."""
    for listener in _secret_listeners:
        listener(kind, value)


@contextlib.contextmanager
def listening(to_words: Listener, to_secrets: Listener) -> Iterator[None]:
    _listeners.append(to_words)
    _secret_listeners.append(to_secrets)
    try:
        yield
    finally:
        _listeners.remove(to_words)
        _secret_listeners.remove(to_secrets)
