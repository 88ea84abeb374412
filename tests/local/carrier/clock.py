"""Virtual time: real, N times faster, or stepped by hand.

Everything the simulated carrier waits for (ringing, talking, pauses, queue slots) waits here.
Two rules make a fast clock trustworthy:

* time never overtakes a timer. On a busy machine timers fire late; `now()` then stays at the
  timer's due moment until it has fired, so a call that hangs up after 300 s lasts 300 s, however
  slow the machine is. Time lost like that is not caught up in a rush: the clock just ran slower;
* with `hold=n`, no timer fires while more than n webhooks are in flight, so that a slow
  application does not change the story either. A stepped clock waits for every one of them.
"""

import asyncio
import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

# Real seconds that a timer may be late before the clock counts them as lost.
_TOLERANCE = 0.25
# Rounds of the event loop that let every coroutine woken by one timer reach its next wait.
_SETTLING_ROUNDS = 12


class Timer:
    """One thing to do at one virtual moment; `cancel()` may be called at any time, repeatedly."""

    __slots__ = ("arguments", "callback", "due")

    def __init__(self, due: float, callback: Callable[..., Any], arguments: tuple[Any, ...]):
        self.due = due
        self.callback: Callable[..., Any] | None = callback
        self.arguments = arguments

    def cancel(self) -> None:
        self.callback = None
        self.arguments = ()


class Clock:
    """Virtual seconds since `start`, `speed` of them per real second.

    `stepped=True` stands still until `advance(seconds)`. `now()` and `seconds()` may be called
    from any thread; everything else belongs to the event loop given to `attach`.
    """

    def __init__(
        self,
        speed: float = 1.0,
        *,
        stepped: bool = False,
        hold: int | None = None,
        start: datetime | None = None,
    ):
        if not (speed > 0 and math.isfinite(speed)):
            raise ValueError(f"speed must be a positive number, not {speed!r}")
        self.speed = speed
        self.stepped = stepped
        self.hold = hold
        self.start = start or datetime.now(UTC)
        # A real moment and the virtual one it stands for: one tuple, as threads read it.
        self._anchor = (time.monotonic(), 0.0)
        self._pinned: float | None = None
        self._horizon = math.inf
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wakeup: asyncio.Handle | None = None
        self._wakeup_due = math.inf
        self._busy = 0
        self._came_and_went = 0
        self._latest = 0.0
        self._reading = threading.Lock()
        self._idle: asyncio.Event | None = None

    # -- reading -------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The virtual moment, UTC and timezone-aware."""
        return self.start + timedelta(seconds=self.seconds())

    def seconds(self) -> float:
        """Virtual seconds since `start`; never goes back, whichever threads ask."""
        read = self._read()
        # The loop may have moved its anchor, horizon and pin between two of the looks at them.
        with self._reading:
            self._latest = max(self._latest, read)
            return self._latest

    def _read(self) -> float:
        pinned = self._pinned  # read once: this may be another thread
        if pinned is not None:
            return pinned
        if self.stepped:
            return self._anchor[1]
        return min(self._flowing(), self._horizon)

    def at(self, seconds: float) -> datetime:
        """The moment that lies `seconds` after `start`."""
        return self.start + timedelta(seconds=seconds)

    def _flowing(self) -> float:
        real, virtual = self._anchor
        return virtual + (time.monotonic() - real) * self.speed

    # -- waiting -------------------------------------------------------------------------------

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind the clock to the event loop that fires its timers."""
        self._loop = loop
        self._idle = asyncio.Event()
        self._idle.set()

    def call_later(self, delay: float, callback: Callable[..., Any], *arguments: Any) -> Timer:
        """Call back after `delay` virtual seconds."""
        timer = Timer(self.seconds() + max(0.0, delay), callback, arguments)
        heapq.heappush(self._heap, (timer.due, next(self._count), timer))
        self._horizon = min(self._horizon, timer.due)
        self._arm()
        return timer

    async def sleep(self, delay: float) -> None:
        """Wait `delay` virtual seconds."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        timer = self.call_later(delay, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Marks a webhook in flight: a stepped or holding clock waits for it."""
        self._busy += 1
        self._came_and_went += 1
        if self._idle:
            self._idle.clear()
        try:
            yield
        finally:
            self._busy -= 1
            self._came_and_went += 1
            if not self._busy and self._idle:
                self._idle.set()
            if self.hold is not None and self._busy <= self.hold:
                self._arm()

    def _held(self) -> bool:
        return self.hold is not None and self._busy > self.hold

    @property
    def pending(self) -> int:
        """How many timers are set (a cancelled one counts until its moment has come)."""
        return len(self._heap)

    def quiet(self) -> float:
        """Virtual seconds until the next timer fires; infinite without one."""
        return self._heap[0][0] - self.seconds() if self._head() else math.inf

    # -- steering ------------------------------------------------------------------------------

    async def advance(self, seconds: float) -> None:
        """Step a stepped clock forward, firing each timer at its own moment and in order.

        Raises ValueError on a clock that runs by itself.
        """
        if not self.stepped:
            raise ValueError("only a stepped clock can be advanced")
        target = self.seconds() + seconds
        await self._settle()
        while self._head() is not None and self._heap[0][0] <= target:
            due, _, timer = heapq.heappop(self._heap)
            self._stand_at(max(self.seconds(), due))
            _fire(timer)
            await self._settle()
        self._stand_at(target)
        self._head()

    def set_speed(self, speed: float) -> None:
        """Run `speed` times faster than real from this moment on; 0 makes the clock stepped."""
        if speed < 0 or not math.isfinite(speed):
            raise ValueError(f"speed must be zero or a positive number, not {speed!r}")
        self._stand_at(self.seconds())
        self.stepped = speed == 0
        if speed:
            self.speed = speed
        self._disarm()
        self._arm()

    def clear(self) -> None:
        """Forget every timer; those who wait for one are not woken."""
        self._heap.clear()
        self._disarm()
        self._horizon = math.inf

    async def _settle(self) -> None:
        assert self._idle is not None, "attach() comes first"
        quiet_since = -1
        while self._busy or quiet_since != self._came_and_went:
            await self._idle.wait()
            # A webhook may come and go within these rounds: what its answer wakes needs as many.
            quiet_since = self._came_and_went
            for _ in range(_SETTLING_ROUNDS):
                await asyncio.sleep(0)

    # -- the pump ------------------------------------------------------------------------------

    def _head(self) -> Timer | None:
        while self._heap and self._heap[0][2].callback is None:
            heapq.heappop(self._heap)
        self._horizon = self._heap[0][0] if self._heap else math.inf
        return self._heap[0][2] if self._heap else None

    def _disarm(self) -> None:
        if self._wakeup:
            self._wakeup.cancel()
        self._wakeup = None
        self._wakeup_due = math.inf

    def _arm(self) -> None:
        if self.stepped or self._loop is None or self._pinned is not None:
            return
        if self._held():
            return
        if self._horizon >= self._wakeup_due or self._horizon == math.inf:
            return
        self._disarm()
        self._wakeup_due = self._horizon
        delay = (self._horizon - self._flowing()) / self.speed
        if delay > 0:
            self._wakeup = self._loop.call_later(delay, self._pump)
        else:
            self._wakeup = self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._wakeup = None
        self._wakeup_due = math.inf
        if self.stepped or self._held():
            return
        timer = self._head()
        if timer is not None and timer.due <= self._flowing():
            heapq.heappop(self._heap)
            self._lose_time(timer.due)
            self._pinned = timer.due
            self._head()
            _fire(timer)
            # Coroutines woken by this timer run before the next one: asyncio is first in,
            # first out, and their wake-ups were queued before this.
            assert self._loop is not None
            self._loop.call_soon(self._unpin)
        else:
            self._arm()

    def _lose_time(self, due: float) -> None:
        late = (self._flowing() - due) / self.speed
        if late > _TOLERANCE:
            self._stand_at(due + _TOLERANCE * self.speed)

    def _stand_at(self, virtual: float) -> None:
        self._anchor = (time.monotonic(), virtual)

    def _unpin(self) -> None:
        self._pinned = None
        self._arm()


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _fire(timer: Timer) -> None:
    callback, arguments = timer.callback, timer.arguments
    timer.cancel()
    if callback is not None:
        callback(*arguments)
