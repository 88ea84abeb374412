"""A pytest plugin that reduces the interpreter's cost of garbage collection and of its stack.

Garbage collection visits every live object. Most of them belong to some thousand modules that stay
loaded: they are frozen after loading. The rest is collected after 50,000 new objects instead of
700.

CPython (3.11 to 3.13) keeps its frames in chunks of 16 KiB. A call that does not fit into the last
one maps another, and unmaps it at its return. A loop that happens to run at that depth does so at
each turn, and an empty call takes 300 times as long: the histories spent a quarter of their time on
it. A frame that needs more room is given a chunk that is large enough, so whatever is called below
`with_room` shares one of 1 MiB.
"""

import contextlib
import gc
import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

_NEW_OBJECTS = 50_000
# 8 bytes each: more than half of 1 MiB, so that this is what is mapped, and nearly half is left.
_FRAME_SLOTS = 66_000


def with_room(work: Callable[[], None]) -> None:
    work()


with_room.__code__ = with_room.__code__.replace(co_stacksize=_FRAME_SLOTS)


def _roomy(method: Callable[[Any], None]) -> Callable[[Any], None]:
    return lambda self: with_room(lambda: method(self))


_exit = contextlib.ExitStack()


def pytest_configure() -> None:
    gc.set_threshold(_NEW_OBJECTS, 10, 10)
    test, thread = pytest.Function.runtest, threading.Thread.run
    _exit.enter_context(mock.patch.object(pytest.Function, "runtest", _roomy(test)))
    _exit.enter_context(mock.patch.object(threading.Thread, "run", _roomy(thread)))


def pytest_unconfigure() -> None:
    _exit.close()


def pytest_collection_finish() -> None:
    gc.freeze()
