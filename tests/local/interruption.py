"""Ctrl-C and SIGTERM end the process within seconds and without a traceback.

They may come at any time and several times. A handler interrupts its process anywhere, even inside
another handler, so these handlers take no lock. They exit, or set a flag. This module imports
nothing heavy, so that the handlers are installed before the slow imports.
"""

import os
import signal
import sys
import time
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WAKE_SECONDS = 0.2
# Real seconds after which the system ends a process that does not stop.
STOPPING_SECONDS = 20


class Interruption:
    """Before `defer`, a signal exits at once with `status`: so far the process has nothing to clean
    up."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._may_exit = True
        self._was_signaled = False
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._may_exit:
            os._exit(self._status)
        self._was_signaled = True

    def defer(self) -> None:
        """From now on the process has something to stop: a signal takes effect only in `wait`."""
        self._may_exit = False

    def wait(self) -> None:
        """Return once a signal has come. Stopping may then take STOPPING_SECONDS."""
        # The system may deliver a signal to any thread, but only the main thread runs the handler.
        # So this thread has to wake up by itself.
        while not self._was_signaled:
            time.sleep(_WAKE_SECONDS)
        # Ignored, not handled: Python restores the default of handled signals when it exits. On a
        # signal at that very moment it prints that it ignores it (CPython, signalmodule.c).
        sys.unraisablehook = _report_unless_late_signal
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        # An alarm, not a thread: a thread could hang just like the work that it watches.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(STOPPING_SECONDS)


def _report_unless_late_signal(unraisable: "sys.UnraisableHookArgs") -> None:
    if "ignored due to race condition" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)
