"""What an exception may tell: its kind and its place, never what it was about.

Lambda writes the message of an exception that a function did not catch to the log and into the
trace, and answers with it, so that it is in the history of the execution and in the dead letter
of the event (Lambda Developer Guide, "Python handler", "Exceptions"). And the message of
somebody else's exception may quote the number, or the token, that it could not take.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from callback.errors import CallbackError

_Event = TypeVar("_Event")
_Answer = TypeVar("_Answer")

UNSAID = "the message is not told: it may quote a number"


def discreet(handler: Callable[[_Event, Any], _Answer]) -> Callable[[_Event, Any], _Answer]:
    """The same handler, outermost. What it raises keeps the name of its class, which Step
    Functions goes by, and its traceback; its message only where it is a sentence of ours."""

    @functools.wraps(handler)
    def careful(event: _Event, context: Any) -> _Answer:
        try:
            return handler(event, context)
        except CallbackError as refusal:
            raise refusal from None
        except Exception as error:  # noqa: BLE001  (raised again, under the same name)
            same_name = type(type(error).__name__, (Exception,), {})
            raise same_name(UNSAID).with_traceback(error.__traceback__) from None

    return careful
