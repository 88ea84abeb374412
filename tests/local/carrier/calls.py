"""One call's life: queued, initiated, ringing, in progress, over.

Sources: Twilio docs, call-resource (statuses, progress events) and voice/twiml (request
parameters).
"""

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.local.clock import Timer

from .dates import rfc2822
from .scripts import Behaviour, user_part
from .webhooks import Form, Jar, Outbox

if TYPE_CHECKING:
    from .conferences import Participant
    from .dialing import Bridge
    from .exchange import Exchange
    from .recordings import Recording

LIVE = ("queued", "ringing", "in-progress")
GEO = ("City", "State", "Zip", "Country")
API_VERSION = "2010-04-01"
VERSTAT = "TN-Validation-Passed-A"  # of an inbound call, by itself


@dataclass(frozen=True)
class Source:
    """Where TwiML comes from: a URL to fetch, or the document itself.

    `extra` are the parameters its cause adds (Digits, DialCallStatus, …).
    """

    url: str = ""
    method: str = "POST"
    twiml: str = ""
    extra: Form = field(default_factory=dict)
    fallback_url: str = ""
    fallback_method: str = "POST"
    kind: str = "twiml"


@dataclass
class CallOptions:
    """The options of a create request or of a <Dial> noun. Times are in seconds."""

    source: Source = field(default_factory=Source)
    status_callback: str = ""
    status_method: str = "POST"
    status_events: tuple[str, ...] = ("completed",)
    timeout: float = 60.0
    time_limit: float | None = None
    send_digits: str = ""
    detection: str = ""  # "", Enable, DetectMessageEnd
    detection_timeout: float = 30.0
    async_detection: bool = False
    detection_callback: str = ""
    detection_method: str = "POST"
    record: bool = False
    recording_channels: str = "mono"
    recording_track: str = "both"
    recording_callback: str = ""
    recording_method: str = "POST"
    recording_events: tuple[str, ...] = ("completed",)
    caller_id: str = ""


class Call:
    """One leg. Its attributes are those of the REST resource. Its methods change its state."""

    def __init__(
        self,
        exchange: "Exchange",
        *,
        to: str,
        from_: str,
        direction: str,
        options: CallOptions,
        behaviour: Behaviour,
        parent: "Call | None" = None,
    ):
        self.exchange = exchange
        self.sid = exchange.new_sid("CA")
        self.to = to
        self.from_ = from_
        self.direction = direction
        self.options = options
        self.behaviour = behaviour
        self.parent = parent
        self.children: list[Call] = []
        self.status = "queued"
        self.created = exchange.clock.now()
        self.updated = self.created
        self.start_time: datetime | None = None
        self.end_time: datetime | None = None
        self.dialed = False
        self.answered_at: float | None = None
        self.duration: int | None = None
        self.answered_by: str | None = None
        self.detection_ms: int | None = None
        self.sip_code: int | None = None
        self.queue_time = 0
        self.verstat = VERSTAT
        self.sequence = 0
        self.deleted = False
        self.lines: deque[dict[str, str]] = deque(maxlen=exchange.settings.keep_lines)
        self.jar = Jar()
        self.outbox = Outbox(exchange, self.sid)
        self.participant: Participant | None = None
        self.bridge: Bridge | None = None
        self.recording: Recording | None = None
        self.listener: asyncio.Queue[str] | None = None
        self.dial_action: Source | None = None
        self.ready = asyncio.Event()  # set once a dialed party has answered and its whisper is over
        self.finished = asyncio.Event()
        self._timers: dict[str, Timer] = {}
        self._runner: asyncio.Task[None] | None = None
        self._gathers_keyed = 0
        self._gathers_spoken = 0
        self._answered_is_due = False

    # -- properties ----------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return self.status not in LIVE

    @property
    def name(self) -> str:
        """The party's name: the user part of its address (From for an inbound caller)."""
        return user_part(self.from_ if self.direction == "inbound" else self.to)

    def hears(self, what: str) -> None:
        """Add a line to what this party hears, unless it has hung up."""
        if self.ended:
            return
        at = self.exchange.clock.now().isoformat(timespec="milliseconds")
        self.lines.append({"at": at, "hears": what})
        self.exchange.tell("hears", self.sid, text=what)

    def later(self, name: str, delay: float, callback: Any, *arguments: Any) -> None:
        """Start a timer. The next one of the same name replaces it; the call's end cancels it."""
        self.forget(name)
        self._timers[name] = self.exchange.clock.call_later(delay, callback, *arguments)

    def forget(self, *names: str) -> None:
        for name in names:
            timer = self._timers.pop(name, None)
            if timer:
                timer.cancel()

    # -- webhooks' parameters ------------------------------------------------------------------

    def form(self, status: str | None = None) -> Form:
        """The parameters of every webhook about this call. Unknown places are sent empty."""
        form: Form = {
            "CallSid": self.sid,
            "AccountSid": self.exchange.account_sid,
            "From": self.from_,
            "To": self.to,
            "Caller": self.from_,
            "Called": self.to,
            "CallStatus": status or self.status,
            "ApiVersion": API_VERSION,
            "Direction": self.direction,
        }
        for side in ("From", "To", "Caller", "Called"):
            for place in GEO:
                form[side + place] = ""
        if self.parent:
            form["ParentCallSid"] = self.parent.sid
        if self.direction == "inbound" and self.verstat:
            form["StirVerstat"] = self.verstat
        return form

    def _status_form(self, word: str, *, final: bool) -> Form:
        form = self.form(word)
        form["Timestamp"] = rfc2822(self.exchange.clock.now())
        form["CallbackSource"] = "call-progress-events"
        form["SequenceNumber"] = str(self.sequence)
        if final:
            seconds = self.duration or 0
            form["CallDuration"] = str(seconds)
            form["Duration"] = str(math.ceil(seconds / 60))
            if self.sip_code is not None:
                form["SipResponseCode"] = str(self.sip_code)
            if self.recording is not None and self.options.record:
                form["RecordingUrl"] = self.recording.url
                form["RecordingSid"] = self.recording.sid
                form["RecordingDuration"] = str(self.recording.seconds)
        if self.answered_by:
            form["AnsweredBy"] = self.answered_by
        return form

    def _emit(self, event: str, word: str, *, final: bool = False) -> None:
        self.updated = self.exchange.clock.now()
        self.exchange.tell(f"call.{word}", self.sid, to=self.to, direction=self.direction)
        if self.participant:
            self.participant.conference.call_moved(self.participant)
        if self.options.status_callback and event in self.options.status_events:
            form = self._status_form(word, final=final)
            self.sequence += 1
            self.outbox.push(
                "status", self.options.status_callback, self.options.status_method, form, self.jar
            )

    # -- outbound: dial, ring, answer ----------------------------------------------------------

    def dial(self) -> None:
        """Leave the queue and start calling the party."""
        if self.ended or self.dialed:
            return
        self.dialed = True
        self.start_time = self.exchange.clock.now()
        self._emit("initiated", "initiated")
        part = self.behaviour
        if part.ring_after is None:
            self.later("ring", part.answer_after, self._outcome)
            self.later("ring timeout", self.ring_limit, self._ring_timeout)
        else:
            self.later("ring", part.ring_after, self._ring)

    def fail_before_dialing(self) -> None:
        """Fail the call at the concurrency cap, if its create was not refused for it."""
        self.dialed = True
        self.finish("failed")

    @property
    def ring_limit(self) -> float:
        buffer = 0.0 if self.parent else self.exchange.settings.ring_buffer
        return self.options.timeout + buffer

    def _ring(self) -> None:
        self.status = "ringing"
        self.hears(f"phone rings, display shows {self.options.caller_id or self.from_}")
        self._emit("ringing", "ringing")
        self.later("ring timeout", self.ring_limit, self._ring_timeout)
        if self.behaviour.outcome != "no-answer":
            self.later("ring", self.behaviour.answer_after, self._outcome)

    def _ring_timeout(self) -> None:
        self.finish("no-answer", 487)

    def _outcome(self) -> None:
        part, settings = self.behaviour, self.exchange.settings
        if part.outcome == "answer":
            self.answer()
        elif part.outcome == "busy":
            self.finish("busy", part.sip_code or settings.busy_sip_code)
        elif part.outcome == "failed":
            self.finish("failed", part.sip_code or settings.failure_sip_code)

    def answer(self) -> None:
        """The party picks up."""
        if self.answered_at is not None or self.ended:
            return
        self.forget("ring", "ring timeout")
        if self.behaviour.answered_by == "human":
            self.hears("picks up")
        self._connected()
        if self._runner is None:
            self._runner = self.exchange.spawn(self._run())

    def _connected(self) -> None:
        clock, part = self.exchange.clock, self.behaviour
        self.status = "in-progress"
        self.answered_at = clock.seconds()
        self.start_time = clock.now()
        limit = self.options.time_limit or self.exchange.settings.longest_call
        self.later("time limit", limit, self.finish, "completed")
        if part.hang_up_after is not None:
            self.later("hang up", part.hang_up_after, self.hang_up)
        self.later("patience", part.stay_at_most, self.hang_up)
        if self.exchange.settings.answered_callback == "after_twiml" and self._runner is None:
            self._answered_is_due = True
        else:
            self._emit("answered", "in-progress")
        if self.options.record:
            self.recording = self.exchange.recordings.start(self, "OutboundAPI")

    async def _run(self) -> None:
        """Run an answered outbound call."""
        if self.options.send_digits:
            await self.exchange.clock.sleep(
                sum({"w": 0.5, "W": 1.0}.get(c, 0.1) for c in self.options.send_digits)
            )
            self.hears(f"keys {self.options.send_digits}")
        elif self.options.detection:
            if self.options.async_detection:
                self.exchange.spawn(self._detect())
            else:
                await self._detect()
        if self.exchange.settings.answered_callback == "before_twiml":
            await self.outbox.idle()
        if self.participant is not None:
            self._document_loaded()
            await self.participant.conference.connect(self.participant)
        elif self.parent is not None:
            await self._run_dialed()
        else:
            await self._execute(self.options.source)
        self.finish("completed")

    async def _run_dialed(self) -> None:
        """Run a party of a <Dial>: it hears its whisper, then talks until the call ends."""
        from .player import Player  # noqa: PLC0415 - player and calls know each other

        self._document_loaded()
        source = self.options.source
        if source.url and not await Player(self, whisper=True).run(source):
            return
        self.ready.set()
        await self.finished.wait()

    async def _execute(self, source: Source) -> None:
        from .player import Player  # noqa: PLC0415 - player and calls know each other

        await Player(self).run(source, after_fetch=self._document_loaded)

    def _document_loaded(self) -> None:
        """Send a late `answered` callback: the first TwiML fetch is over."""
        if self._answered_is_due and self.status == "in-progress":
            self._answered_is_due = False
            self._emit("answered", "in-progress")

    # -- answering machine detection -----------------------------------------------------------

    async def _detect(self) -> None:
        """Source: Twilio docs, voice/answering-machine-detection."""
        part, options, clock = self.behaviour, self.options, self.exchange.clock
        began = clock.seconds()
        takes, word = part.detection_seconds, part.answered_by
        if word == "machine":
            word = "machine_start"
            if options.detection == "DetectMessageEnd":
                takes, word = part.greeting_seconds, "machine_end_beep"
        if word == "unknown" or takes > options.detection_timeout:
            takes, word = options.detection_timeout, "unknown"
        await clock.sleep(takes)
        if self.ended:
            return
        self.answered_by = word
        self.exchange.tell("call.answered-by", self.sid, answered_by=word)
        if self.options.async_detection and options.detection_callback:
            self.outbox.push(
                "amd",
                options.detection_callback,
                options.detection_method,
                {
                    "CallSid": self.sid,
                    "AccountSid": self.exchange.account_sid,
                    "AnsweredBy": word,
                    "MachineDetectionDuration": str(round((clock.seconds() - began) * 1000)),
                },
                self.jar,
            )
        else:
            self.detection_ms = round((clock.seconds() - began) * 1000)

    def detection_form(self) -> Form:
        """The parameters that synchronous detection adds to the first TwiML fetch."""
        if self.options.async_detection or self.detection_ms is None or not self.answered_by:
            return {}
        return {
            "AnsweredBy": self.answered_by,
            "MachineDetectionDuration": str(self.detection_ms),
        }

    # -- inbound -------------------------------------------------------------------------------

    def arrive(self) -> None:
        """An inbound call rings while its number's document is fetched."""
        self.dialed = True
        self.status = "ringing"
        self.start_time = self.exchange.clock.now()
        self.hears("ringback")
        self._emit("ringing", "ringing")
        self._runner = self.exchange.spawn(self._run_inbound())

    async def _run_inbound(self) -> None:
        await self._execute(self.options.source)
        if self.answered_at is None:
            self.pick_up()
        self.finish("completed")

    def pick_up(self) -> None:
        """The carrier answers an inbound call at its first audible verb."""
        if self.direction == "inbound" and self.answered_at is None and not self.ended:
            self._connected()

    # -- steering ------------------------------------------------------------------------------

    def redirect(self, source: Source) -> None:
        """Abandon the current document, leaving any room or dialed party, and run another.

        Source: Twilio docs, call-resource (update).
        """
        self._drop_runner()
        if self.participant:
            self.participant.conference.leave(self.participant, "participant_updated_via_api")
        self._end_dialing()
        self._runner = self.exchange.spawn(self._run_redirected(source))

    async def _run_redirected(self, source: Source) -> None:
        await self._execute(source)
        self.finish("completed")

    def _drop_runner(self) -> None:
        if self._runner and self._runner is not asyncio.current_task():
            self._runner.cancel()
        self._runner = None

    def _end_dialing(self) -> None:
        self.dial_action = None
        if self.bridge:
            self.bridge.end()
        for child in list(self.children):
            if not child.ended:
                child.finish("completed" if child.answered_at is not None else "canceled")
        self.children.clear()

    def hang_up(self) -> None:
        """The party hangs up."""
        if not self.ended:
            self.exchange.tell("party.hangs-up", self.sid, to=self.to)
            self.finish("completed" if self.answered_at is not None else "no-answer")

    def finish(self, status: str, sip_code: int | None = None) -> None:
        """End the call. Ending it again does nothing."""
        if self.ended:
            return
        clock = self.exchange.clock
        self.status = status
        self.end_time = clock.now()
        self.sip_code = 200 if status == "completed" and sip_code is None else sip_code
        if status == "canceled":
            self.sip_code = 487
        if self.answered_at is not None:
            self.duration = max(0, round(clock.seconds() - self.answered_at))
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self.recording is not None:
            self.exchange.recordings.stop(self.recording)
        self._drop_runner()
        action = self.dial_action
        self._end_dialing()
        if self.dialed:
            self._emit("completed", status, final=True)
        if self.participant:
            self.participant.conference.leave(self.participant, "participant_hung_up")
        if action is not None:
            # The dialing party is gone, but its <Dial action> still receives the result.
            form = self.form() | action.extra
            self.outbox.push("action", action.url, action.method, form, self.jar)
        self.listener = None
        self.finished.set()
        self.exchange.call_ended(self)

    # -- the party -----------------------------------------------------------------------------

    def joined(self) -> None:
        """Another party is audible. This party talks, and its time with the other one starts."""
        part = self.behaviour
        self.forget("goodbye")
        if part.hang_up_after_joined is not None and "joined" not in self._timers:
            self.later("joined", part.hang_up_after_joined, self.hang_up)
        says = part.says or (f"Hello, this is {self.name}.",)
        for number, sentence in enumerate(says):
            self.later(f"says {number}", 0.5 + 2.0 * number, self.speak, sentence)

    def alone(self) -> None:
        """The last other party has left."""
        self.forget(*[name for name in self._timers if name.startswith("says ")])
        if self.behaviour.leaves_with_other:
            self.later("goodbye", 1.0, self.hang_up)

    def speak(self, sentence: str) -> None:
        """Say something to the connected parties."""
        if self.participant:
            self.participant.conference.speak(self.participant, sentence)
        elif self.bridge:
            self.bridge.speak(self, sentence)

    def press(self, keys: str) -> bool:
        """The party presses keys. False if nothing listened."""
        self.exchange.tell("party.presses", self.sid, keys=keys)
        if self.listener is None:
            return False
        for key in keys:
            self.listener.put_nowait(key)
        return True

    def next_digits(self) -> str:
        """The keys that the script presses in the next Gather ("" for none)."""
        number, self._gathers_keyed = self._gathers_keyed, self._gathers_keyed + 1
        return self.behaviour.digits[number] if number < len(self.behaviour.digits) else ""

    def next_speech(self) -> str:
        number, self._gathers_spoken = self._gathers_spoken, self._gathers_spoken + 1
        return self.behaviour.speech[number] if number < len(self.behaviour.speech) else ""
