"""Rooms: their participants, the sound that each hears, and the callbacks.

Source: Twilio docs, conference-resource, participant-resource and the conference noun.
"""

import asyncio
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from .calls import Call, Source
from .dates import rfc2822
from .webhooks import Form, Outbox

if TYPE_CHECKING:
    from .exchange import Exchange
    from .recordings import Recording

# The short words of statusCallbackEvent and the long ones that are sent.
EVENTS = {
    "start": ("conference-start",),
    "end": ("conference-end",),
    "join": ("participant-join",),
    "leave": ("participant-leave",),
    "mute": ("participant-mute", "participant-unmute"),
    "hold": ("participant-hold", "participant-unhold"),
    "modify": ("participant-modify",),
    "speaker": ("participant-speech-start", "participant-speech-stop"),
    "announcement": ("announcement-end", "announcement-fail"),
}
# Twilio's own playlists, which many applications name; here they are just music.
TWILIO_MUSIC = ("http://twimlets.com/holdmusic", "https://twimlets.com/holdmusic")
REASONS = {
    "conference-ended-via-api": "Conference ended via API",
    "participant-with-end-conference-on-exit-left": "Participant with end conference on exit left",
    "participant-with-end-conference-on-exit-kicked": (
        "Participant with end conference on exit kicked"
    ),
    "last-participant-left": "Last participant left",
    "last-participant-kicked": "Last participant kicked",
}


class JoinRefused(Exception):
    """A call may not join: `code` is Twilio's (16020 full, 16023 bad label, 16025 label used)."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Terms:
    """The terms of joining: the attributes of <Conference>, or of a participant create."""

    muted: bool = False
    beep: str = "true"
    start_on_enter: bool = True
    end_on_exit: bool = False
    label: str = ""
    wait_url: str | None = None  # None: Twilio's own music; "": silence
    wait_method: str = "POST"
    max_participants: int = 250
    record: bool = False
    region: str = "us1"
    coach: str = ""
    status_callback: str = ""
    status_method: str = "POST"
    status_events: tuple[str, ...] = ()
    recording_callback: str = ""
    recording_method: str = "POST"
    recording_events: tuple[str, ...] = ("completed",)


@dataclass
class Participant:
    """One call in one room."""

    call: Call
    conference: "Conference"
    terms: Terms
    created: datetime
    updated: datetime
    muted: bool = False
    hold: bool = False
    connected: bool = False
    talking: bool = False
    coaching: bool = False
    coached: str = ""
    queue_time: str | None = None
    left: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: "asyncio.Task[None] | None" = None
    listening: "asyncio.Task[None] | None" = None

    @property
    def status(self) -> str:
        """The participant's own vocabulary, not the call's."""
        if self.connected:
            return "connected"
        return {"queued": "queued", "ringing": "ringing", "in-progress": "connecting"}.get(
            self.call.status, "failed"
        )


class Conference:
    """A room. It exists from its first participant, or the first one called into it."""

    def __init__(self, exchange: "Exchange", name: str):
        self.exchange = exchange
        self.sid = exchange.new_sid("CF")
        self.name = name
        self.created = exchange.clock.now()
        self.updated = self.created
        self.participants: dict[str, Participant] = {}
        self.started = False
        self.over = False
        self.reason: str | None = None
        self.ended_by: str | None = None
        self.region = "us1"
        self.recording: Recording | None = None
        self._terms: Terms | None = None  # the first participant's: its callback counts
        self._sequence = exchange.settings.conference_sequence_base
        self._outbox = Outbox(exchange, self.sid)

    @property
    def status(self) -> str:
        if self.over:
            return "completed"
        return "in-progress" if self.started else self.exchange.settings.lone_room_status

    def connected(self) -> list[Participant]:
        return [p for p in self.participants.values() if p.connected]

    def find(self, sid_or_label: str) -> Participant | None:
        participant = self.participants.get(sid_or_label)
        if participant:
            return participant
        return next((p for p in self.participants.values() if p.terms.label == sid_or_label), None)

    # -- joining -------------------------------------------------------------------------------

    def expect(self, call: Call, terms: Terms) -> Participant:
        """Take note of a call that will join. Raises JoinRefused."""
        if terms.label:
            if (
                len(terms.label) > 128
                or "/" in terms.label
                or re.fullmatch(r"CA[0-9a-f]{32}", terms.label)
            ):
                raise JoinRefused(16023, "Dial->Conference: Invalid participant label")
            if any(p.terms.label == terms.label for p in self.participants.values()):
                raise JoinRefused(
                    16025, "Dial->Conference: Participant label is in use by another participant"
                )
        if len(self.connected()) >= terms.max_participants:
            raise JoinRefused(16020, "Conference is full")
        now = self.exchange.clock.now()
        participant = Participant(call, self, terms, created=now, updated=now, muted=terms.muted)
        if terms.coach:
            participant.coaching, participant.coached = True, terms.coach
        self.participants[call.sid] = participant
        call.participant = participant
        if self._terms is None:
            self._terms = terms
            self.region = terms.region
        return participant

    async def connect(self, participant: Participant) -> None:
        """Put an answered call into the room, and stay until it leaves."""
        if self.over:
            return
        if len(self.connected()) >= participant.terms.max_participants:
            self.exchange.debugger.error(16020, "Conference is full", call_sid=participant.call.sid)
            self.leave(participant, "participant_add_failed")
            return
        participant.connected = True
        self._changed(participant)
        self.exchange.tell("conference.join", participant.call.sid, conference_sid=self.sid)
        self._emit("participant-join", participant)
        if participant.terms.beep in ("true", "onEnter"):
            self._beep(participant)
        able = self.connected()
        if not self.started and len(able) >= 2 and any(p.terms.start_on_enter for p in able):
            self._start()
        self._mix()
        await participant.left.wait()

    def _start(self) -> None:
        self.started = True
        self.updated = self.exchange.clock.now()
        self.exchange.tell("conference.start", self.sid, name=self.name)
        self._emit("conference-start")
        terms = self._terms
        if terms and terms.record:
            self.recording = self.exchange.recordings.start_room(self, terms)

    def _mix(self) -> None:
        """After a change, let each participant talk or wait."""
        able = [p for p in self.connected() if not p.hold]
        together = self.started and len(able) >= 2
        for participant in self.connected():
            talks = together and not participant.hold
            if talks and not participant.talking:
                participant.talking = True
                self._stop_waiting(participant)
                others = [p.terms.label or p.call.name for p in able if p is not participant]
                participant.call.hears(f"joined with {', '.join(others)}")
                participant.call.joined()
            elif not talks and participant.talking:
                participant.talking = False
                if not participant.hold:
                    participant.call.hears("silence, alone in the room")
                    participant.call.alone()
            elif not (self.started or participant.hold or participant.waiting):
                participant.waiting = self.exchange.spawn(self._wait(participant))

    def _stop_waiting(self, participant: Participant) -> None:
        for task in (participant.waiting, participant.listening):
            if task:
                task.cancel()
        participant.waiting = participant.listening = None

    async def _wait(self, participant: Participant) -> None:
        """Play the waitUrl's document to a lone participant, once."""
        terms, call = participant.terms, participant.call
        if terms.wait_url is None or terms.wait_url.startswith(TWILIO_MUSIC):
            call.hears("music on hold")
            return
        if terms.wait_url == "":
            call.hears("silence, waiting")
            return
        if not await self._play(participant, terms.wait_url, terms.wait_method, "wait"):
            self.exchange.debugger.error(
                13233, "Dial->Conference: Invalid waitUrl", call_sid=call.sid, url=terms.wait_url
            )
            self.leave(participant, "participant_add_failed")
        else:
            call.hears("silence, waiting")

    async def _play(self, participant: Participant, url: str, method: str, kind: str) -> bool:
        from .player import Player  # noqa: PLC0415 - rooms and players know each other

        return await Player(participant.call, beside=True).listen(
            Source(url, method, kind=kind, extra=self._names())
        )

    # -- leaving -------------------------------------------------------------------------------

    def leave(self, participant: Participant, reason: str, *, kicked: bool = False) -> None:
        """Take a call out of the room; its <Dial> ends. Its terms decide whether the room ends."""
        if self.participants.pop(participant.call.sid, None) is None:
            return
        was_in = participant.connected
        participant.connected = participant.talking = False
        self._stop_waiting(participant)
        call = participant.call
        if call.participant is participant:
            call.participant = None
        call.forget("joined", "goodbye")
        participant.left.set()
        self.updated = self.exchange.clock.now()
        if not was_in:
            reason = "participant_add_failed"
        self.exchange.tell("conference.leave", call.sid, conference_sid=self.sid, reason=reason)
        self._emit("participant-leave", participant, {"ReasonParticipantLeft": reason})
        if self.over:
            return
        if was_in and participant.terms.beep in ("true", "onExit"):
            self._beep(participant)
        how = "kicked" if kicked else "left"
        if was_in and participant.terms.end_on_exit:
            self.end(f"participant-with-end-conference-on-exit-{how}", participant)
        elif not self.participants:
            self.end(f"last-participant-{how}", participant)
        else:
            self._mix()

    def end(self, reason: str, by: Participant | None = None) -> None:
        """Close the room; everybody else's <Dial> ends."""
        if self.over:
            return
        self.over = True
        self.reason = reason
        self.ended_by = by.call.sid if by else None
        others = "conference_ended_via_api" if by is None else "moderator_ended_conference"
        for participant in list(self.participants.values()):
            if participant.connected:
                self.leave(participant, others)
            else:  # still being called into a room that is gone
                self.participants.pop(participant.call.sid, None)
                participant.call.participant = None
                participant.call.finish("canceled")
        self.updated = self.exchange.clock.now()
        self.exchange.tell("conference.end", self.sid, name=self.name, reason=reason)
        self._emit(
            "conference-end",
            extra={
                "CallSidEndingConference": self.ended_by or "",
                "ParticipantLabelEndingConference": by.terms.label if by else "",
                "ReasonConferenceEnded": reason,
                "Reason": REASONS[reason],
            },
        )
        if self.recording:
            self.exchange.recordings.stop(self.recording)
        self.exchange.conference_ended(self)

    def call_moved(self, participant: Participant) -> None:
        """A call that is, or will be, in this room changed its status."""
        participant.updated = self.exchange.clock.now()

    # -- what the API does to a participant ----------------------------------------------------

    def mute(self, participant: Participant, muted: bool) -> None:
        if participant.muted != muted:
            participant.muted = muted
            self._changed(participant)
            self._emit("participant-mute" if muted else "participant-unmute", participant)

    def hold(
        self, participant: Participant, hold: bool, url: str = "", method: str = "GET"
    ) -> None:
        if participant.hold == hold:
            return
        participant.hold = hold
        self._changed(participant)
        self._stop_waiting(participant)
        self._emit("participant-hold" if hold else "participant-unhold", participant)
        if hold:
            participant.listening = self.exchange.spawn(self._on_hold(participant, url, method))
        self._mix()

    async def _on_hold(self, participant: Participant, url: str, method: str) -> None:
        if (
            not url
            or url.startswith(TWILIO_MUSIC)
            or not await self._play(participant, url, method, "hold")
        ):
            participant.call.hears("music on hold")

    def modify(self, participant: Participant) -> None:
        self._changed(participant)
        self._emit("participant-modify", participant)

    def wait_at(self, participant: Participant, url: str, method: str) -> None:
        """Replace what a waiting participant hears."""
        participant.terms.wait_url, participant.terms.wait_method = url, method
        if participant.waiting:
            participant.waiting.cancel()
            participant.waiting = None
            self._mix()

    def announce(self, url: str, method: str, to: Participant | None = None) -> None:
        """Play a document to one participant, or to everybody, without ending anything."""
        self.exchange.spawn(self._announce(url, method, to))

    async def _announce(self, url: str, method: str, to: Participant | None) -> None:
        listeners = [to] if to else self.connected()
        fine = True
        for result in await asyncio.gather(
            *(self._play(p, url, method, "announce") for p in listeners)
        ):
            fine = fine and result
        extra = {"AnnounceUrl": url}
        if not fine:
            extra["ReasonAnnouncementFailed"] = "the announcement's document could not be played"
        self._emit("announcement-end" if fine else "announcement-fail", to, extra)

    def speak(self, speaker: Participant, sentence: str) -> None:
        """All talking participants hear it, unless the speaker is muted; only one hears a coach."""
        if not speaker.talking or speaker.muted:
            return
        name = speaker.terms.label or speaker.call.name
        self._emit("participant-speech-start", speaker)
        for listener in self.connected():
            if listener is speaker or not listener.talking:
                continue
            if speaker.coaching and listener.call.sid != speaker.coached:
                continue
            listener.call.hears(f'{name}: "{sentence}"')
        self._emit("participant-speech-stop", speaker)

    def _beep(self, about: Participant) -> None:
        for listener in self.connected():
            if listener is not about and self.started:
                listener.call.hears("beep")

    # -- callbacks -----------------------------------------------------------------------------

    def _changed(self, participant: Participant) -> None:
        participant.updated = self.updated = self.exchange.clock.now()

    def _names(self) -> Form:
        return {"ConferenceSid": self.sid, "FriendlyName": self.name}

    def _emit(
        self, event: str, participant: Participant | None = None, extra: Form | None = None
    ) -> None:
        terms = self._terms
        if terms is None or not terms.status_callback:
            return
        if not any(event in EVENTS.get(word, ()) for word in terms.status_events):
            return
        form: Form = {
            **self._names(),
            "AccountSid": self.exchange.account_sid,
            "SequenceNumber": str(self._sequence),
            "Timestamp": rfc2822(self.exchange.clock.now()),
            "StatusCallbackEvent": event,
        }
        if participant:
            form |= {
                "CallSid": participant.call.sid,
                "Muted": _word(participant.muted),
                "Hold": _word(participant.hold),
                "Coaching": _word(participant.coaching),
                "EndConferenceOnExit": _word(participant.terms.end_on_exit),
                "StartConferenceOnEnter": _word(participant.terms.start_on_enter),
            }
            if participant.terms.label:
                form["ParticipantLabel"] = participant.terms.label
            if event == "participant-leave":
                form["ParticipantCallStatus"] = participant.call.status
        self._sequence += 1
        self._outbox.push(
            "conference", terms.status_callback, terms.status_method, form | (extra or {})
        )


def _word(value: bool) -> str:
    return "true" if value else "false"
