"""Recordings: their resource, their callbacks and a WAV of their length.

Source: Twilio docs, recording-resource and recording status callbacks.
"""

import math
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from .dates import rfc2822
from .webhooks import Form, Outbox

if TYPE_CHECKING:
    from .calls import Call
    from .conferences import Conference, Terms
    from .exchange import Exchange

RATE = 8_000
SAMPLE_BYTES = 2
TONE_HERTZ = 440


@dataclass
class RecordingTerms:
    callback: str = ""
    method: str = "POST"
    events: tuple[str, ...] = ("completed",)
    channels: int = 1
    track: str = "both"


@dataclass
class Recording:
    sid: str
    account_sid: str
    call_sid: str | None
    conference_sid: str | None
    source: str
    terms: RecordingTerms
    started: datetime
    began: float
    url: str
    outbox: Outbox
    status: str = "in-progress"
    seconds: int = 0
    updated: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.updated = self.started


class Recordings:
    """All recordings of the account, newest last."""

    def __init__(self, exchange: "Exchange"):
        self.exchange = exchange
        self.by_sid: dict[str, Recording] = {}

    def start(self, call: "Call", source: str, terms: RecordingTerms | None = None) -> Recording:
        if terms is None:
            options = call.options
            terms = RecordingTerms(
                callback=options.recording_callback,
                method=options.recording_method,
                events=options.recording_events,
                channels=2 if options.recording_channels == "dual" else 1,
                track=options.recording_track,
            )
        return self._start(call.sid, None, source, terms)

    def start_room(self, conference: "Conference", terms: "Terms") -> Recording:
        wanted = RecordingTerms(
            terms.recording_callback, terms.recording_method, terms.recording_events
        )
        return self._start(None, conference.sid, "Conference", wanted)

    def _start(
        self, call_sid: str | None, conference_sid: str | None, source: str, terms: RecordingTerms
    ) -> Recording:
        exchange = self.exchange
        sid = exchange.new_sid("RE")
        recording = Recording(
            sid=sid,
            account_sid=exchange.account_sid,
            call_sid=call_sid,
            conference_sid=conference_sid,
            source=source,
            terms=terms,
            started=exchange.clock.now(),
            began=exchange.clock.seconds(),
            url=f"{exchange.url}/2010-04-01/Accounts/{exchange.account_sid}/Recordings/{sid}",
            outbox=Outbox(exchange, sid),
        )
        self.by_sid[sid] = recording
        self._emit(recording)
        while len(self.by_sid) > exchange.settings.keep_ended:
            self.by_sid.pop(next(iter(self.by_sid)))
        return recording

    def stop(self, recording: Recording, *, silent: bool = False) -> None:
        """End the recording: completed, or absent when there was nothing to record."""
        if recording.status != "in-progress":
            return
        recording.seconds = max(0, round(self.exchange.clock.seconds() - recording.began))
        recording.status = "absent" if silent or recording.seconds == 0 else "completed"
        recording.updated = self.exchange.clock.now()
        self._emit(recording)

    def _emit(self, recording: Recording) -> None:
        self.exchange.tell(
            f"recording.{recording.status}", recording.call_sid or recording.conference_sid or ""
        )
        terms = recording.terms
        if not terms.callback or recording.status not in terms.events:
            return
        form: Form = {
            "AccountSid": recording.account_sid,
            "RecordingSid": recording.sid,
            "RecordingUrl": recording.url,
            "RecordingStatus": recording.status,
            "RecordingChannels": str(terms.channels),
            "RecordingStartTime": rfc2822(recording.started),
            "RecordingSource": recording.source,
            "RecordingTrack": terms.track,
        }
        if recording.call_sid:
            form["CallSid"] = recording.call_sid
        if recording.conference_sid:
            form["ConferenceSid"] = recording.conference_sid
        if recording.status != "in-progress":
            form["RecordingDuration"] = str(recording.seconds)
        recording.outbox.push("recording", terms.callback, terms.method, form)


def wav(seconds: int, channels: int) -> Iterator[bytes]:
    """A WAV file of that length, one second of quiet tone at a time: 8 kHz, 16 bit PCM."""
    frame = SAMPLE_BYTES * channels
    size = seconds * RATE * frame
    yield b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt "
    yield struct.pack("<IHHIIHH", 16, 1, channels, RATE, RATE * frame, frame, 8 * SAMPLE_BYTES)
    yield b"data" + struct.pack("<I", size)
    samples = array("h")
    for number in range(RATE):
        value = round(2_000 * math.sin(2 * math.pi * TONE_HERTZ * number / RATE))
        samples.extend([value] * channels)
    second = struct.pack(f"<{len(samples)}h", *samples)
    for _ in range(seconds):
        yield second


def wav_size(seconds: int, channels: int) -> int:
    return 44 + seconds * RATE * SAMPLE_BYTES * channels
