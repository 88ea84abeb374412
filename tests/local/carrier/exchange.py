"""The carrier: its account, its queue, its calls and its rooms."""

import asyncio
import os
import random
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.local.clock import Clock

from .calls import VERSTAT, Call, CallOptions, Source
from .conferences import Conference
from .debugger import Debugger
from .errors import refusal
from .faults import Faults
from .messages import Message
from .recordings import Recordings
from .scripts import Behaviour, Scripts
from .settings import Settings
from .webhooks import Webhooks

MAX_CRASHES = 100
Listener = Callable[[dict[str, Any]], None]


@dataclass
class Number:
    """One number of the account. `sid` is made from it, so that it is always the same."""

    sid: str
    phone_number: str
    friendly_name: str
    created: datetime
    owned: bool  # an incoming phone number; else a verified caller id
    voice_url: str = ""
    voice_method: str = "POST"
    voice_fallback_url: str = ""
    voice_fallback_method: str = "POST"
    status_callback: str = ""
    status_callback_method: str = "POST"
    sms_url: str = ""
    sms_method: str = "POST"
    sms_fallback_url: str = ""
    sms_fallback_method: str = "POST"


@dataclass
class Application:
    """A TwiML application, for ApplicationSid."""

    sid: str
    voice_url: str
    voice_method: str = "POST"
    voice_fallback_url: str = ""
    voice_fallback_method: str = "POST"
    status_callback: str = ""
    status_callback_method: str = "POST"


class Exchange:
    """State of one account. Lives in one event loop; only `clock` may be read from outside."""

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        *,
        clock: Clock,
        settings: Settings | None = None,
        scripts: Scripts | None = None,
        seed: int | None = None,
    ):
        self.account_sid = account_sid
        self.auth_token = auth_token
        self.clock = clock
        self.settings = settings or Settings()
        self.scripts = scripts or Scripts()
        self.seed = int.from_bytes(os.urandom(4)) if seed is None else seed
        self.random = random.Random(self.seed)
        self.faults = Faults(self.seed)
        self.url = ""  # where the API listens, once it does
        self.calls: dict[str, Call] = {}
        self.conferences: dict[str, Conference] = {}
        self.messages: dict[str, Message] = {}
        self.numbers: dict[str, Number] = {}
        self.applications: dict[str, Application] = {}
        self.api_keys: dict[str, str] = {}  # SK… and its secret, instead of SID and token
        self.media: dict[str, float] = {}
        self.recordings = Recordings(self)
        self.debugger = Debugger(self)
        self.webhooks = Webhooks(self)
        self.crashes: list[str] = []
        self.placed = 0
        self.live_calls = 0
        self._rooms: dict[str, Conference] = {}
        self._ended_calls: deque[str] = deque()
        self._ended_rooms: deque[str] = deque()
        self._queue: deque[tuple[Call, float]] = deque()
        self._next_slot = 0.0
        self._queue_armed = False
        self._listeners: list[Listener] = []
        self._tasks: set[asyncio.Task[None]] = set()

    # -- plumbing ------------------------------------------------------------------------------

    def new_sid(self, prefix: str) -> str:
        return f"{prefix}{self.random.getrandbits(128):032x}"

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run beside everything else; a crash is kept in `crashes`, never lost."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            text = "".join(traceback.format_exception(error))
            if len(self.crashes) < MAX_CRASHES:
                self.crashes.append(text)
            self.debugger.error(12400, f"the simulator itself failed: {error!r}")

    def subscribe(self, listener: Listener) -> None:
        """Receive every event at once: {"at", "seconds", "kind", "subject", …}.

        The listener is called in the simulator's thread and must return at once.
        """
        self._listeners.append(listener)

    def tell(self, kind: str, subject: str, **details: Any) -> None:
        if not self._listeners:
            return
        event = {
            "at": self.clock.now(),
            "seconds": self.clock.seconds(),
            "kind": kind,
            "subject": subject,
            **details,
        }
        for listener in self._listeners:
            listener(event)

    async def close(self) -> None:
        """Drop all calls and other work."""
        while self._tasks:
            self.clock.clear()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.webhooks.close()

    # -- numbers -------------------------------------------------------------------------------

    def add_number(self, phone_number: str, *, owned: bool = True, **values: str) -> Number:
        """Give the account a number, or a verified caller id (`owned=False`)."""
        sid = f"PN{random.Random(phone_number).getrandbits(128):032x}"
        number = Number(
            sid=sid,
            phone_number=phone_number,
            friendly_name=values.pop("friendly_name", phone_number),
            created=self.clock.now(),
            owned=owned,
            **values,
        )
        self.numbers[phone_number] = number
        return number

    def may_show(self, phone_number: str) -> bool:
        """Whether the account may use this number as its caller id."""
        return self.settings.caller_ids == "any" or phone_number in self.numbers

    # -- calls ---------------------------------------------------------------------------------

    def place(
        self,
        to: str,
        from_: str,
        options: CallOptions,
        behaviour: Behaviour | None = None,
        *,
        queued: bool = True,
    ) -> Call:
        """Accept an API call; it leaves the queue at its calls-per-second slot.

        Raises ApiError: 22005 when more than a day of calls waits, 10004 at the concurrency cap.
        """
        settings = self.settings
        rate = settings.calls_per_second
        now = self.clock.seconds()
        slot = max(now, self._next_slot) if queued else now
        if slot - now > settings.queue_limit_seconds:
            raise refusal(22005, status=settings.queue_full_http_status)
        cap = settings.concurrent_calls
        over = cap is not None and self.live_calls >= cap
        if over and settings.concurrency_effect == "refuse":
            raise refusal(10004, status=settings.concurrency_http_status)
        call = Call(
            self,
            to=to,
            from_=from_,
            direction="outbound-api",
            options=options,
            behaviour=behaviour or self.scripts.behaviour(to),
        )
        self._register(call)
        call.queue_time = round((slot - now) * 1000)
        self.tell("call.queued", call.sid, to=to, direction=call.direction)
        if over:
            self.debugger.error(10004, "Call concurrency limit exceeded", call_sid=call.sid)
            self.clock.call_later(0, call.fail_before_dialing)
        elif queued:
            self._next_slot = slot + 1 / rate
            self._queue.append((call, slot))
            self._arm_queue()
        else:
            self.clock.call_later(0, call.dial)
        return call

    def _arm_queue(self) -> None:
        if self._queue and not self._queue_armed:
            self._queue_armed = True
            self.clock.call_later(self._queue[0][1] - self.clock.seconds(), self._leave_queue)

    def _leave_queue(self) -> None:
        self._queue_armed = False
        while self._queue and (
            self._queue[0][0].ended or self._queue[0][1] <= self.clock.seconds()
        ):
            call, _ = self._queue.popleft()
            if not call.ended:
                call.dial()
        self._arm_queue()

    def waiting(self) -> int:
        return sum(not call.ended for call, _ in self._queue)

    def place_child(self, parent: Call, to: str, from_: str, options: CallOptions) -> Call:
        """A party of a <Dial>; exempt from the calls-per-second queue."""
        call = Call(
            self,
            to=to,
            from_=from_,
            direction="outbound-dial",
            options=options,
            behaviour=self.scripts.behaviour(to),
            parent=parent,
        )
        self._register(call)
        self.clock.call_later(0, call.dial)
        return call

    def receive(
        self, to: str, from_: str, behaviour: Behaviour, source: Source, verstat: str = VERSTAT
    ) -> Call:
        """A caller calls one of the account's numbers."""
        number = self.numbers.get(to)
        options = CallOptions(source=source)
        if number and number.status_callback:
            options.status_callback = number.status_callback
            options.status_method = number.status_callback_method
        call = Call(
            self, to=to, from_=from_, direction="inbound", options=options, behaviour=behaviour
        )
        call.verstat = verstat
        self._register(call)
        call.arrive()
        return call

    def _register(self, call: Call) -> None:
        self.calls[call.sid] = call
        self.placed += 1
        self.live_calls += 1

    def call_ended(self, call: Call) -> None:
        self.live_calls -= 1
        self._ended_calls.append(call.sid)
        while len(self._ended_calls) > self.settings.keep_ended:
            self.calls.pop(self._ended_calls.popleft(), None)

    # -- rooms ---------------------------------------------------------------------------------

    def room(self, name: str) -> Conference:
        """The live room of that name, made when there is none."""
        room = self._rooms.get(name)
        if room is None:
            room = Conference(self, name)
            self._rooms[name] = room
            self.conferences[room.sid] = room
            self.tell("conference.create", room.sid, name=name)
        return room

    def drop_if_empty(self, room: Conference) -> None:
        """Forget a room that never had a participant."""
        if not room.participants and not room.over:
            self._rooms.pop(room.name, None)
            self.conferences.pop(room.sid, None)

    def conference_ended(self, room: Conference) -> None:
        if self._rooms.get(room.name) is room:
            del self._rooms[room.name]
        self._ended_rooms.append(room.sid)
        while len(self._ended_rooms) > self.settings.keep_ended:
            self.conferences.pop(self._ended_rooms.popleft(), None)
