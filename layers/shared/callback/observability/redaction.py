"""Redacts uncaught exceptions: the class and the traceback remain, the message does not.

Lambda writes the message of an uncaught exception to the log and to the trace. It also returns the
message as the result, so the message reaches the execution history and the dead-letter queue
(Lambda Developer Guide, "Python handler", "Exceptions").
The message of a library's exception may quote a telephone number or a token.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from callback.errors import CallbackError

_Event = TypeVar("_Event")
_Result = TypeVar("_Result")

REDACTED_MESSAGE = "message redacted: it may quote a number"


def redact_exceptions(
    handler: Callable[[_Event, Any], _Result],
) -> Callable[[_Event, Any], _Result]:
    """Decorate a function's handler, outermost.

    An exception keeps its traceback and the name of its class; Step Functions matches that name.
    Only a CallbackError keeps its message, because we wrote it.
    """

    @functools.wraps(handler)
    def redacting(event: _Event, context: Any) -> _Result:
        try:
            return handler(event, context)
        except CallbackError as refusal:
            raise refusal from None
        except Exception as error:  # noqa: BLE001  (raised again, under the same name)
            same_name = type(type(error).__name__, (Exception,), {})
            raise same_name(REDACTED_MESSAGE).with_traceback(error.__traceback__) from None

    return redacting
