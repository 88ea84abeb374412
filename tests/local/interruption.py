"""Ctrl-C and SIGTERM, whenever and however often they come: no traceback, and an end in seconds.

A handler interrupts its process anywhere, even inside another handler, so these take no lock:
they leave, or leave a mark. Nothing heavy is imported here, so that they are in force before
anything is that takes its time.
"""

import os
import signal
import sys
import time
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WAKE_SECONDS = 0.2
# Until the system ends a process that was asked to stop and does not.
STOPPING_SECONDS = 20


class Interruption:
    """What is interrupted before `defer` leaves at once with `status`: all that it has begun lies
    in its own memory."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._may_leave = True
        self._came = False
        for number in _SIGNALS:
            signal.signal(number, self._heard)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        if self._may_leave:
            os._exit(self._status)
        self._came = True

    def defer(self) -> None:
        """From now on there is something to stop: an interrupted thread goes on until `wait`."""
        self._may_leave = False

    def wait(self) -> None:
        """Return once interrupted; stopping may then take STOPPING_SECONDS."""
        # The system may give a signal to any thread, and only this one acts on it: it has to wake
        # up by itself.
        while not self._came:
            time.sleep(_WAKE_SECONDS)
        # Ignored, not handled: Python gives handled ones their default at its own end. One that
        # comes in this very moment makes it print that it ignores it (CPython, signalmodule.c).
        sys.unraisablehook = _report_unless_late_signal
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        # An alarm, not a thread: a thread could hang like the work that it watches.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(STOPPING_SECONDS)


def _report_unless_late_signal(unraisable: "sys.UnraisableHookArgs") -> None:
    if "ignored due to race condition" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)
