"""Virtual time: one clock for the simulator, the engine, queues, schedules and handlers.

A clock runs in one of two ways.

* **Stepped**, for tests: time stands still while any work is in flight, and otherwise passes only
  while a caller waits for it. Then it jumps from timer to timer. The machine's speed changes no
  result.
* **At a speed**, for people: `speed` virtual seconds in a real one. While work is in flight, time
  passes no faster than real time, so a fast clock does not overtake a slow handler.

**Work** is anything in progress: an invocation, a webhook, a stream record, a message, a request.
Each piece of work is a `Work`. The sender keeps it in flight until the receiver takes it over. A
thread that starts another thread begins that thread's work first. An HTTP request carries the
number of its work in the header WORK_HEADER. A **deliberate wait** is a timer, not work: `pause`,
`Signal.wait` and `Work.suspension` let time pass.

Time never overtakes a timer. On a busy machine timers fire late. `now()` then stays at the timer's
due moment until it has fired, so a call that hangs up after 300 s lasts 300 s. The clock does not
catch up on time lost like that: it ran slower.
"""

import asyncio
import contextlib
import faulthandler
import heapq
import itertools
import math
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

# The HTTP header that carries the number of the work that a request belongs to.
WORK_HEADER = "X-Local-Work"
# Real seconds that a timer may be late before the clock counts them as lost.
_TOLERANCE = 0.25
# Rounds of the event loop that let every coroutine woken by one timer reach its next wait.
_SETTLING_ROUNDS = 12
# Real seconds without progress after which the work in flight counts as stuck.
STALLED_SECONDS = 60.0
# Real seconds between two checks of a condition, on a clock that runs at a speed.
_CHECK_SECONDS = 0.02

Result = TypeVar("Result")


class ClockStalled(Exception):
    """Work has held the clock without progress for STALLED_SECONDS; the message names the work."""


class NotInTime(AssertionError):
    """A condition did not become true within so many virtual seconds."""


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


class Work:
    """A piece of work in flight, made by `Clock.begin`. `what` describes it in `Clock.holders`. Any
    thread may use it."""

    def __init__(self, clock: "Clock", number: int, what: str) -> None:
        self.number = number
        self.what = what
        self._clock = clock
        self._is_over = False
        # Whether a receiver that knows the clock has taken it over.
        self.is_shared = False
        self._suspensions: set[object] = set()

    def end(self) -> None:
        """Mark the work as done. Ending it again changes nothing."""
        with self._clock.lock:
            self._is_over = True
            self._clock.works.pop(self.number, None)
            self._clock.update_hold(self)

    @contextmanager
    def suspension(self) -> Iterator[None]:
        """The work waits on purpose inside the block, and time may pass."""
        suspension = self.suspend()
        try:
            yield
        finally:
            self.resume(suspension)

    def suspend(self) -> object:
        """Let time pass until `resume` is called with what this returns."""
        suspension = object()
        with self._clock.lock:
            self._suspensions.add(suspension)
            self._clock.update_hold(self)
        return suspension

    def resume(self, suspension: object) -> None:
        with self._clock.lock:
            self._suspensions.discard(suspension)
            self._clock.update_hold(self)

    def reclaim(self) -> None:
        """End every suspension: this work no longer waits for its receiver."""
        with self._clock.lock:
            self._suspensions.clear()
            self._clock.update_hold(self)

    @property
    def holds_clock(self) -> bool:
        return not self._is_over and not self._suspensions


_current: ContextVar[Work | None] = ContextVar("the work that this thread does", default=None)


def current_work() -> Work | None:
    """The work that this thread or coroutine does."""
    return _current.get()


@contextmanager
def run_as(work: Work | None) -> Iterator[None]:
    """This thread or coroutine does `work` inside the block."""
    token = _current.set(work)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def run_and_end(work: Work) -> Iterator[None]:
    """As `run_as`. The work ends with the block."""
    try:
        with run_as(work):
            yield
    finally:
        work.end()


class Clock:
    """Virtual seconds since `start`, `speed` of them per real second.

    `stepped=True`: time passes only in `advance`, `until` and `let_time_pass`, and while a thread
    without work pauses or waits for a Signal.
    `hold=n`: no timer fires while more than n pieces of work are in flight. Time passes at its
    speed meanwhile.
    `attach`, and methods that say so, run in the event loop given to `attach`. Any thread may call
    the other methods.
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
        # A real moment, the virtual moment that it stands for, and the rate since then in virtual
        # seconds per real second. One tuple, because other threads read it.
        self._anchor = (time.monotonic(), 0.0, speed)
        self._pinned: float | None = None
        self._horizon = math.inf
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = -1
        self._wakeup: asyncio.Handle | None = None
        self._wakeup_due = math.inf
        # Every piece of work that is not over, by its number, and those that hold the clock.
        self.works: dict[int, Work] = {}
        self._holders: dict[int, Work] = {}
        self._numbers = itertools.count(1)
        self._work_changes = 0
        self._settled_at = -1
        self._latest = 0.0
        self._reading_lock = threading.Lock()
        # Guards the works, the timers and the waits. Public for `Work` alone.
        self.lock = threading.RLock()
        self._idle: asyncio.Event | None = None
        self._driver_wakeup: asyncio.Event | None = None
        self._step_lock: asyncio.Lock | None = None
        # Called when the clock has stalled and there is no caller to raise ClockStalled in.
        self.on_stall: list[Callable[[], None]] = []
        self._waiters = 0
        self._driver: asyncio.Task[None] | None = None
        # The waits on other threads, each with the function that ends it early.
        self._pauses: dict[object, Callable[[], None]] = {}
        self._is_shut = False

    # -- reading -------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The current virtual time, UTC and timezone-aware."""
        return self.start + timedelta(seconds=self.seconds())

    def seconds(self) -> float:
        """Virtual seconds since `start`. They never go back, whichever thread reads them."""
        read = self._read()
        # The loop may have changed the anchor, horizon and pin between two reads.
        with self._reading_lock:
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
        """The moment `seconds` after `start`."""
        return self.start + timedelta(seconds=seconds)

    def _flowing(self) -> float:
        real, virtual, rate = self._anchor
        return virtual + (time.monotonic() - real) * rate

    # -- work ----------------------------------------------------------------------------------

    def begin(self, what: str) -> Work:
        """Begin work that holds the clock until it is suspended or over."""
        with self.lock:
            work = Work(self, next(self._numbers), what)
            self.works[work.number] = work
            self.update_hold(work)
        return work

    def take_over(self, header: str | None) -> Work | None:
        """Take over the work that a request with this WORK_HEADER belongs to."""
        work = self.works.get(int(header)) if header and header.isdecimal() else None
        if work:
            work.is_shared = True
        return work

    @contextmanager
    def track_work(self, what: str = "a webhook") -> Iterator[Work]:
        """Keep work in flight inside the block. It does not become the current work, because a
        coroutine spawned inside would inherit it."""
        work = self.begin(what)
        try:
            yield work
        finally:
            work.end()

    def start_thread(
        self, what: str, target: Callable[..., Any], *arguments: Any
    ) -> threading.Thread:
        """Run `target` on a new thread, as work of its own from this moment on."""
        work = self.begin(what)

        def run() -> None:
            with run_and_end(work):
                target(*arguments)

        thread = threading.Thread(target=run, name=what, daemon=True)
        thread.start()
        return thread

    def update_hold(self, work: Work) -> None:
        """For `Work` alone: record whether `work` holds the clock now."""
        before = len(self._holders)
        if work.holds_clock:
            self._holders[work.number] = work
        else:
            self._holders.pop(work.number, None)
        after = len(self._holders)
        self._work_changes += 1
        if after != before and not (before and after):
            self._change_rate()
            self._in_loop(self._note_idleness)
        if after < before and self.hold is not None and after <= self.hold:
            self._in_loop(self._arm)

    def _note_idleness(self) -> None:
        with self.lock:
            if self._idle is None:
                return
            if self._holders:
                self._idle.clear()
            else:
                self._idle.set()
            self._change_rate()
        self._arm()

    def _change_rate(self) -> None:
        """Apply the rate allowed now to a clock that runs at a speed."""
        if not self.stepped and self._pinned is None and self._rate() != self._anchor[2]:
            self._stand_at(self.seconds())

    def _rate(self) -> float:
        """The rate allowed now, in virtual seconds per real second."""
        is_slowed = self._holders and self.hold is None
        return min(self.speed, 1.0) if is_slowed else self.speed

    def _in_loop(self, note: Callable[[], None]) -> None:
        """Run `note` in the event loop: at once if this is its thread, else as soon as possible."""
        if self._loop is None or self._loop.is_closed():
            return
        if threading.get_ident() == self._loop_thread:
            note()
        else:
            with contextlib.suppress(RuntimeError):  # the loop closed meanwhile
                self._loop.call_soon_threadsafe(note)

    def holders(self) -> list[str]:
        """Descriptions of the work that holds the clock."""
        with self.lock:
            return [work.what for work in self._holders.values()]

    # -- waiting -------------------------------------------------------------------------------

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind the clock to the running event loop that fires its timers."""
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._idle, self._driver_wakeup = asyncio.Event(), asyncio.Event()
        self._step_lock = asyncio.Lock()
        self._note_idleness()

    def call_later(self, delay: float, callback: Callable[..., Any], *arguments: Any) -> Timer:
        """Call `callback` in the event loop after `delay` virtual seconds."""
        timer = Timer(self.seconds() + max(0.0, delay), callback, arguments)
        with self.lock:
            heapq.heappush(self._heap, (timer.due, next(self._count), timer))
            self._horizon = min(self._horizon, timer.due)
        self._in_loop(self._wake_driver)
        return timer

    def _wake_driver(self) -> None:
        if self._driver_wakeup is not None:
            self._driver_wakeup.set()
        self._arm()

    async def sleep(self, delay: float) -> None:
        """Wait `delay` virtual seconds, in the event loop."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        timer = self.call_later(delay, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()

    def pause(self, seconds: float) -> bool:
        """Wait `seconds` of virtual time with the current work suspended. Any thread may call it
        except the event loop's.

        False if the clock was shut before, because no more time passes."""
        Signal(self).wait(seconds)
        return not self._is_shut

    def call_within(self, seconds: float, call: Callable[[], Result]) -> Result:
        """Return or raise what `call` does. It holds the clock unless it hands its work on.

        Raises TimeoutError after `seconds` of virtual time. `call` then goes on, and its result is
        ignored."""
        work, done = current_work(), threading.Event()
        results: list[Result] = []
        errors: list[BaseException] = []

        def run() -> None:
            with run_as(work):
                try:
                    results.append(call())
                except BaseException as error:  # noqa: BLE001 - raised again by the caller
                    errors.append(error)
            done.set()

        def give_up() -> None:
            if not done.is_set():
                if work:
                    work.reclaim()
                done.set()

        timer = self.call_later(seconds, give_up)
        threading.Thread(target=run, name="a bounded call", daemon=True).start()
        with self.register_pause(give_up):
            done.wait()
        timer.cancel()
        if errors:
            raise errors[0]
        if not results:
            raise TimeoutError(f"not within {seconds} virtual seconds")
        return results[0]

    def quiet(self) -> float:
        """Virtual seconds until the next timer fires; infinite without one."""
        return self._heap[0][0] - self.seconds() if self._head() else math.inf

    # -- steering ------------------------------------------------------------------------------

    async def advance(self, seconds: float) -> None:
        """Step a stepped clock forward. Each timer fires at its own moment and in order. Runs in
        the event loop. Raises ValueError on a clock that runs at a speed."""
        if not self.stepped:
            raise ValueError("only a stepped clock can be advanced")
        target = self.seconds() + seconds
        await self._settle()
        while await self._step(target):
            pass
        self._stand_still_at(target)
        self._head()

    def _stand_still_at(self, moment: float) -> None:
        with self.lock:
            self._stand_at(max(moment, self.seconds()))

    async def _step(self, limit: float, *, only_for_waiters: bool = False) -> bool:
        """Wait for the work in flight, fire the next timer, and wait for the work that it starts.

        False if there is no timer up to the moment `limit`. `only_for_waiters`: False also once no
        caller waits any more. Raises ClockStalled."""
        assert self._step_lock is not None, "attach() comes first"
        async with self._step_lock:
            if self._holders or self._work_changes != self._settled_at:
                await self._settle()
            with self.lock:
                if self._holders:
                    return True  # another thread has begun work since: wait for it first
                if only_for_waiters and not self._waiters:
                    return False
                if self._head() is None or self._heap[0][0] > limit:
                    return False
                due, _, timer = heapq.heappop(self._heap)
                self._stand_at(max(self.seconds(), due))
            _fire(timer)
            await self._settle()
            return True

    def settle(self) -> None:
        """Wait until no work is in flight, and let no time pass. Raises ClockStalled."""
        self._run(self._settle())

    def until(
        self,
        condition: Callable[[], Result],
        within: float,
        sign: Callable[[], Any] | None = None,
    ) -> Result:
        """Wait until `condition` is true, and return its first true value at that moment.

        within: virtual seconds. sign: returns a value that is cheap to read and that changes
        whenever the condition may have changed. Without it, the condition is checked after each
        timer.
        Raises NotInTime and ClockStalled.
        """
        end = self.seconds() + within
        if self.stepped:
            self.settle()
        while True:
            # Both are read before the condition, so a later change causes another check.
            is_last = self.seconds() >= end
            before = sign() if sign else None
            if value := condition():
                return value
            if is_last:
                raise NotInTime(f"not within {within:g} virtual seconds: {condition}")
            if self.stepped:
                self._run(self._step_until(end, sign, before))
            else:
                time.sleep(_CHECK_SECONDS)

    async def _step_until(self, end: float, sign: Callable[[], Any] | None, before: Any) -> None:
        """Step until the sign differs from `before`, and at most to the moment `end`.
        Without a sign, step to the next timer."""
        await self._settle()
        if sign is not None and sign() != before:
            return
        while await self._step(end):
            if sign is None or sign() != before:
                return
        self._stand_still_at(end)

    @contextmanager
    def let_time_pass(self) -> Iterator[None]:
        """A stepped clock lets time pass inside the block, because its caller waits there."""
        self.begin_waiting()
        try:
            yield
        finally:
            self.end_waiting()

    def begin_waiting(self) -> None:
        with self.lock:
            self._waiters += 1
        self._in_loop(self._drive)

    def end_waiting(self) -> None:
        with self.lock:
            self._waiters -= 1
        self._in_loop(self._wake_driver)

    def _drive(self) -> None:
        self._wake_driver()
        if self.stepped and self._waiters and (self._driver is None or self._driver.done()):
            assert self._loop is not None
            self._driver = self._loop.create_task(self._pass_time())

    async def _pass_time(self) -> None:
        assert self._driver_wakeup is not None, "attach() comes first"
        while self._waiters and self.stepped:
            self._driver_wakeup.clear()
            try:
                await self._settle()
                # An `until` on another thread may step the clock as well: one timer at a time.
                fired = await self._step(math.inf, only_for_waiters=True)
            except ClockStalled as stalled:
                print(stalled, file=sys.stderr, flush=True)
                for note in self.on_stall:
                    note()
                continue
            except Exception:  # noqa: BLE001 - a timer's error must not end another's wait
                traceback.print_exc()
                continue
            if not fired and self._waiters:
                await self._driver_wakeup.wait()

    def set_speed(self, speed: float) -> None:
        """Run `speed` times faster than real time from now on. 0 makes the clock stepped."""
        if speed < 0 or not math.isfinite(speed):
            raise ValueError(f"speed must be zero or a positive number, not {speed!r}")
        now = self.seconds()
        self.stepped = speed == 0
        if speed:
            self.speed = speed
        self._stand_at(now)
        self._disarm()
        self._arm()
        self._in_loop(self._drive)

    def shut(self) -> None:
        """End every present and future wait, because no timer fires any more. A thread that waited
        on would keep its process from ending."""
        with self.lock:
            self._is_shut = True
            ends = list(self._pauses.values())
        for end in ends:
            end()

    @contextmanager
    def register_pause(self, end: Callable[[], None]) -> Iterator[None]:
        """For this module alone: a thread waits inside the block. `end` ends its wait early."""
        pause = object()
        with self.lock:
            self._pauses[pause] = end
            is_shut = self._is_shut
        try:
            if is_shut:
                end()
            yield
        finally:
            with self.lock:
                del self._pauses[pause]

    def clear(self) -> None:
        """Drop every timer. Threads and coroutines that wait for one are not woken."""
        with self.lock:
            self._heap.clear()
            self._horizon = math.inf
        self._disarm()

    async def _settle(self) -> None:
        assert self._idle is not None, "attach() comes first"
        quiet_since = -1
        while self._holders or quiet_since != self._work_changes:
            await self._become_idle()
            # A webhook may begin and end within these rounds. The coroutines that its response
            # wakes need as many rounds again.
            quiet_since = self._work_changes
            for _ in range(_SETTLING_ROUNDS):
                await asyncio.sleep(0)
        self._settled_at = quiet_since

    async def _become_idle(self) -> None:
        assert self._idle is not None
        while self._holders:
            seen = self._work_changes
            try:
                async with asyncio.timeout(STALLED_SECONDS):
                    await self._idle.wait()
            except TimeoutError:
                if self._holders and seen == self._work_changes:
                    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
                    raise ClockStalled(
                        f"nothing has happened for {STALLED_SECONDS:g} s, and the clock waits for: "
                        + "; ".join(self.holders())
                    ) from None
            # The loop sets or clears the event slightly after the work changes.
            await asyncio.sleep(0)

    def _run(self, steps: Any) -> Any:
        """Run a coroutine in the event loop from another thread."""
        assert self._loop is not None, "attach() comes first"
        return asyncio.run_coroutine_threadsafe(steps, self._loop).result()

    # -- the pump ------------------------------------------------------------------------------

    def _head(self) -> Timer | None:
        with self.lock:
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
        if self._is_holding():
            return
        if self._horizon == math.inf:
            return
        due = time.monotonic() + (self._horizon - self._flowing()) / self._anchor[2]
        if due >= self._wakeup_due:
            return
        self._disarm()
        self._wakeup_due = due
        delay = due - time.monotonic()
        if delay > 0:
            self._wakeup = self._loop.call_later(delay, self._pump)
        else:
            self._wakeup = self._loop.call_soon(self._pump)

    def _is_holding(self) -> bool:
        return self.hold is not None and len(self._holders) > self.hold

    def _pump(self) -> None:
        self._wakeup = None
        self._wakeup_due = math.inf
        if self.stepped or self._is_holding():
            return
        with self.lock:
            timer = self._head()
            is_due = timer is not None and timer.due <= self._flowing()
            if is_due:
                heapq.heappop(self._heap)
        if timer is not None and is_due:
            self._lose_time(timer.due)
            self._pinned = timer.due
            self._head()
            assert self._loop is not None
            try:
                _fire(timer)
            finally:
                # Coroutines woken by this timer run before the next one: asyncio is first in,
                # first out, and their wake-ups were queued before this.
                self._loop.call_soon(self._unpin)
        else:
            self._arm()

    def _lose_time(self, due: float) -> None:
        rate = self._anchor[2]
        late = (self._flowing() - due) / rate
        if late > _TOLERANCE:
            self._stand_at(due + _TOLERANCE * rate)

    def _stand_at(self, virtual: float) -> None:
        self._anchor = (time.monotonic(), virtual, self._rate())

    def _unpin(self) -> None:
        self._pinned = None
        self._note_idleness()


@contextmanager
def run_loop(clock: Clock) -> Iterator[None]:
    """Run the clock's timers on an event loop of its own inside the block, without a simulator."""
    ready, stop = threading.Event(), asyncio.Event()

    async def main() -> None:
        clock.attach(asyncio.get_running_loop())
        ready.set()
        await stop.wait()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(main(),), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


class Signal:
    """threading.Event in virtual time. Time passes while a thread waits. The work of each waiting
    thread holds the clock again before `set` returns, so no time passes in between."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._is_set = False
        self._waiting: list[_Waiter] = []

    def is_set(self) -> bool:
        return self._is_set

    isSet = is_set  # noqa: N815 - threading spells it so

    def set(self) -> None:
        with self._lock:
            self._is_set = True
            for waiter in self._waiting:
                waiter.wake()
            self._waiting.clear()

    def clear(self) -> None:
        with self._lock:
            self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Whether the signal is set, at once or within `timeout` virtual seconds."""
        with self._lock:
            if self._is_set:
                return True
            waiter = _Waiter(self._clock, current_work())
            self._waiting.append(waiter)
            timer = None
            if timeout is not None:
                timer = self._clock.call_later(timeout, self._give_up, waiter)
            waiter.suspend()
        if timer is None:
            waiter.wakeup.wait()
        else:
            with self._clock.register_pause(lambda: self._give_up(waiter)):
                waiter.wakeup.wait()
            timer.cancel()
        return waiter.was_set

    def _give_up(self, waiter: "_Waiter") -> None:
        with self._lock:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                waiter.wake(was_set=False)


class _Waiter:
    """One thread in `Signal.wait`. A thread without work drives a stepped clock while it waits."""

    def __init__(self, clock: Clock, work: Work | None) -> None:
        self.wakeup = threading.Event()
        self.was_set = False
        self._clock = clock
        self._work = work
        self._suspension: object = None

    def suspend(self) -> None:
        if self._work:
            self._suspension = self._work.suspend()
        else:
            self._clock.begin_waiting()

    def wake(self, *, was_set: bool = True) -> None:
        self.was_set = was_set
        if self._work:
            self._work.resume(self._suspension)
        else:
            self._clock.end_waiting()
        self.wakeup.set()


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _fire(timer: Timer) -> None:
    callback, arguments = timer.callback, timer.arguments
    timer.cancel()
    if callback is not None:
        callback(*arguments)
