"""Runs TwiML documents in virtual time, one after another and verb by verb.

Source: Twilio docs, voice/twiml and the page of each verb.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

from tests.local.clock import Clock

from .calls import Call, Source
from .conferences import EVENTS, JoinRefused, Terms
from .dialing import Dialing
from .recordings import RecordingTerms
from .twiml import NOT_SIMULATED, Document, TwimlError, Verb, parse
from .webhooks import Answer

APPLICATION_ERROR = "We are sorry, an application error has occurred. Goodbye."
WORDS_PER_SECOND = 2.5
UNKNOWN_MEDIA_SECONDS = 5.0
# Loop 0 means "until hangup", which Twilio bounds at a thousand.
ENDLESS = 1000
# This many documents at one moment of virtual time are a loop.
MAX_DOCUMENTS_AT_ONCE = 100
XML_TYPES = ("text/xml", "application/xml", "text/html")

# A verb returns None to continue, the source of the next document, or HANG_UP.
HANG_UP = object()


class _LoopDetector:
    """Detects a loop by counting the documents that run at one moment of virtual time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moment = -1.0
        self._count = 0

    def count_document(self) -> bool:
        """Count one more document. True if there are too many at this moment."""
        if self._clock.seconds() != self._moment:
            self._moment, self._count = self._clock.seconds(), 0
        self._count += 1
        return self._count > MAX_DOCUMENTS_AT_ONCE


class Player:
    """Runs documents for one call.

    `beside=True` plays a wait, hold or announce document. Such a document may contain only Say,
    Play, Pause and Redirect (13238), and it never moves the call. `whisper=True` plays the document
    of a <Number url>, which may not dial (13201).
    """

    def __init__(self, call: Call, *, beside: bool = False, whisper: bool = False):
        self.call = call
        self.exchange = call.exchange
        self.beside = beside
        self.whisper = whisper
        self.here = Source()
        self._first = True
        self._verbs: dict[str, Callable[[Verb], Awaitable[Any]]] = {
            "Say": self._say,
            "Play": self._play,
            "Pause": self._pause,
            "Redirect": self._redirect,
            "Hangup": self._hangup,
            "Reject": self._reject,
            "Gather": self._gather,
            "Record": self._record,
            "Dial": self._dial,
            "Leave": self._leave,
        }

    # -- documents -----------------------------------------------------------------------------

    async def run(self, source: Source, after_fetch: Callable[[], None] | None = None) -> bool:
        """Run documents to the end of the last one. False if one of them hung up.

        `after_fetch` is called after each fetch, successful or not.
        """
        following: Source | None = source
        loop = _LoopDetector(self.exchange.clock)
        while following is not None:
            if loop.count_document():
                self._error(11215, "documents redirect to each other without end", following.url)
                return False
            document = await self._load(following)
            if after_fetch:
                after_fetch()
            if document is None:
                self.call.pick_up()
                await self._speak(APPLICATION_ERROR)
                return False
            outcome = await self._document(document)
            if outcome is HANG_UP:
                return False
            following = outcome
        return True

    async def listen(self, source: Source) -> bool:
        """Play a wait, hold or announce document. False if it cannot be played."""
        following: Source | None = source
        loop = _LoopDetector(self.exchange.clock)
        while following is not None:
            if loop.count_document():
                self._error(11215, "documents redirect to each other without end", following.url)
                return False
            try:
                document = await self._fetch(following)
            except TwimlError as error:
                self._error(error.code, error.message, following.url)
                return False
            following = await self._document(document)
        return True

    async def _load(self, source: Source) -> Document | None:
        """The document of `source`, else of the fallback URL, else None."""
        try:
            return await self._fetch(source)
        except TwimlError as error:
            self._error(error.code, error.message, source.url)
            own = self.call.options.source
            fallback = source.fallback_url or own.fallback_url
            if not fallback or self.whisper:
                return None
            extra = {"ErrorCode": str(error.code), "ErrorUrl": source.url}
        method = source.fallback_method if source.fallback_url else own.fallback_method
        try:
            return await self._fetch(Source(fallback, method, extra=extra, kind="fallback"))
        except TwimlError as error:
            self._error(error.code, error.message, fallback)
            return None

    async def _fetch(self, source: Source) -> Document:
        if source.twiml:
            self.here = replace(source, url="")
            document = parse(source.twiml)
        else:
            form = self.call.form()
            if self._first and not self.beside:
                form |= self.call.detection_form()
            self._first = False
            answer = await self.exchange.webhooks.send(
                source.kind,
                source.url,
                source.method,
                form | source.extra,
                subject=self.call.sid,
                jar=self.call.jar,
            )
            if answer.cause:
                raise TwimlError(answer.code or 11200, answer.error)
            self.here = replace(source, url=answer.url, extra={})
            document = self._read(answer)
        for code, message in document.warnings:
            self.exchange.debugger.warning(code, message, call_sid=self.call.sid, url=self.here.url)
        return document

    def _read(self, answer: Answer) -> Document:
        kind = answer.content_type.split(";")[0].strip().lower()
        if not answer.body.strip():
            if self.exchange.settings.empty_twiml == "error":
                raise TwimlError(12100, "Document parse failure: the response is empty")
            return Document([], [(12200, "the response to a TwiML request was empty")])
        if kind in XML_TYPES:
            return parse(answer.body)
        if kind == "text/plain":
            try:
                return parse(answer.body)
            except TwimlError:
                text = answer.body.decode("utf-8", "replace")
                return Document([Verb("Say", {}, text), Verb("Hangup", {})], [])
        if kind.startswith("audio/"):
            return Document([Verb("Play", {}, answer.url), Verb("Hangup", {})], [])
        raise TwimlError(12300, f"Invalid Content-Type: {answer.content_type or 'none'}")

    async def _document(self, document: Document) -> Any:
        for number, verb in enumerate(document.verbs):
            if self.beside and verb.name not in ("Say", "Play", "Pause", "Redirect"):
                self._error(
                    13238,
                    "Dial->Conference: Invalid Verb used in waitUrl, holdUrl, or announceUrl "
                    f"TwiML: {verb.name}",
                )
                return None
            if verb.name in NOT_SIMULATED:
                self._error(
                    12400, f"<{verb.name}> is a Twilio verb that this simulator does not simulate"
                )
                continue
            if verb.name not in self._verbs:
                self.exchange.debugger.warning(
                    12200, f"<{verb.name}> is not a voice verb", call_sid=self.call.sid
                )
                continue
            if verb.name == "Reject":
                if number == 0 and self.call.answered_at is None:
                    return await self._reject(verb)
                self.exchange.debugger.warning(
                    12200, "<Reject> only works as the first verb", call_sid=self.call.sid
                )
                return HANG_UP
            if not self.beside and _answers(verb, number):
                self.call.pick_up()
            outcome = await self._verbs[verb.name](verb)
            if outcome is not None:
                return outcome
        return None

    def _error(self, code: int, message: str, url: str = "") -> None:
        self.exchange.debugger.error(
            code, message, call_sid=self.call.sid, url=url or self.here.url
        )

    def _link(self, url: str, method: str, **extra: str) -> Source | None:
        """The target document of an action or redirect. None if its URL cannot be resolved."""
        target = urljoin(self.here.url, url) if url else self.here.url
        if not target.startswith(("http://", "https://")):
            self._error(11100, f"Invalid URL format: {url or 'no URL in an inline document'}")
            return None
        return Source(target, method.upper(), extra=extra, kind=self._kind("action"))

    def _kind(self, kind: str) -> str:
        return self.here.kind if self.beside else kind

    # -- sounds --------------------------------------------------------------------------------

    async def _speak(self, text: str, note: str = "") -> None:
        self.call.hears(f'says{note}: "{text}"')
        await self.exchange.clock.sleep(max(0.5, len(text.split()) / WORDS_PER_SECOND))

    async def _say(self, verb: Verb) -> None:
        if not verb.text:
            self.exchange.debugger.warning(
                13520, "Say: Invalid text", call_sid=self.call.sid, url=self.here.url
            )
            return
        times = verb.number("loop", 1) or ENDLESS
        voice = " ".join(verb.get(name) for name in ("voice", "language") if verb.get(name))
        note = f" ({voice})" if voice else ""
        if times == 1:
            await self._speak(verb.text, note)
            return
        self.call.hears(f'says{note}, {times} times: "{verb.text}"')
        await self.exchange.clock.sleep(times * max(0.5, len(verb.text.split()) / WORDS_PER_SECOND))

    async def _play(self, verb: Verb) -> None:
        if "digits" in verb.attributes:
            digits = verb.get("digits")
            self.call.hears(f"keys {digits}")
            await self.exchange.clock.sleep(
                sum({"w": 0.5, "W": 1.0}.get(key, 0.2) for key in digits)
            )
            return
        url = urljoin(self.here.url, verb.text)
        seconds = await self._media_seconds(url)
        if seconds is None:
            return
        times = verb.number("loop", 1) or ENDLESS
        repeats = (
            "" if times == 1 else (", over and over" if times == ENDLESS else f", {times} times")
        )
        self.call.hears(f"plays {url}{repeats}")
        await self.exchange.clock.sleep(seconds * times)

    async def _media_seconds(self, url: str) -> float | None:
        """The length of a sound in seconds, fetched once. None if it cannot be fetched."""
        if url in self.exchange.media:
            return self.exchange.media[url]
        if not self.exchange.webhooks.allowed(url):
            self.exchange.debugger.warning(
                11210,
                f"a sound on another host is not fetched; it counts as {UNKNOWN_MEDIA_SECONDS} s",
                call_sid=self.call.sid,
                url=url,
            )
            return UNKNOWN_MEDIA_SECONDS
        answer = await self.exchange.webhooks.send(
            "media", url, "GET", {}, subject=self.call.sid, jar=self.call.jar
        )
        if answer.cause:
            return None
        seconds = wav_seconds(answer.body) or UNKNOWN_MEDIA_SECONDS
        if len(self.exchange.media) < 256:
            self.exchange.media[url] = seconds
        return seconds

    async def _pause(self, verb: Verb) -> None:
        await self.exchange.clock.sleep(verb.number("length", 1))

    # -- control flow --------------------------------------------------------------------------

    async def _redirect(self, verb: Verb) -> Any:
        return self._link(verb.text, verb.get("method", "POST")) or HANG_UP

    async def _hangup(self, _verb: Verb) -> Any:
        return HANG_UP

    async def _leave(self, _verb: Verb) -> Any:
        return HANG_UP

    async def _reject(self, verb: Verb) -> Any:
        busy = verb.get("reason", "rejected") == "busy"
        self.call.hears("busy tone" if busy else "not in service tone")
        self.call.finish("busy" if busy else "no-answer", 486 if busy else 603)
        return HANG_UP

    # -- Gather --------------------------------------------------------------------------------

    async def _gather(self, verb: Verb) -> Any:
        kinds = verb.get("input", "dtmf").split()
        call = self.call
        timeout = 5.0 if verb.get("timeout", "5") == "auto" else float(verb.get("timeout", "5"))
        finish_on = verb.get("finishOnKey", "#")
        most_digits = verb.number("numDigits", 0) or None
        keys: asyncio.Queue[str] = asyncio.Queue()
        spoken: list[str] = []
        call.listener = keys if "dtmf" in kinds else None
        scripted = call.next_digits() if "dtmf" in kinds else ""
        if scripted:
            call.later("keys", call.behaviour.digits_after, call.press, scripted)
        sentence = call.next_speech() if "speech" in kinds and not scripted else ""
        if sentence:
            call.later("speech", call.behaviour.digits_after, _speak_into, spoken, keys, sentence)
        try:
            digits = await self._collect(
                keys, verb.children, timeout, finish_on, most_digits, spoken
            )
        finally:
            call.listener = None
            call.forget("keys", "speech")
        extra: dict[str, str] = {}
        if spoken:
            extra = {"SpeechResult": spoken[0], "Confidence": "0.9"}
        elif digits:
            extra = {"Digits": digits}
        if not extra:
            if not verb.flag("actionOnEmptyResult", default=False):
                return None
            extra = {"Digits": ""} if "dtmf" in kinds else {"SpeechResult": ""}
        return self._link(verb.get("action"), verb.get("method", "POST"), **extra) or HANG_UP

    async def _collect(
        self,
        keys: "asyncio.Queue[str]",
        prompts: list[Verb],
        timeout: float,
        finish_on: str,
        most_digits: int | None,
        spoken: list[str],
    ) -> str:
        """Collect keys to `most_digits`, `finish_on` or silence. The first stops the prompts."""
        digits = ""
        key = asyncio.ensure_future(keys.get())
        speaking = asyncio.ensure_future(self._prompts(prompts))
        try:
            both: list[asyncio.Future[Any]] = [speaking, key]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not key.done():
                speaking.result()
                await self._key_or_timeout(key, timeout)
            speaking.cancel()
            while key.done():
                if spoken or (finish_on and key.result() == finish_on):
                    break
                digits += key.result()
                if most_digits is not None and len(digits) >= most_digits:
                    break
                key = asyncio.ensure_future(keys.get())
                await self._key_or_timeout(key, timeout)
        finally:
            speaking.cancel()
            key.cancel()
        return digits

    async def _prompts(self, verbs: list[Verb]) -> None:
        for verb in verbs:
            await self._verbs[verb.name](verb)

    async def _key_or_timeout(self, key: "asyncio.Future[str]", timeout: float) -> None:
        late = asyncio.ensure_future(self.exchange.clock.sleep(timeout))
        try:
            both: list[asyncio.Future[Any]] = [key, late]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            late.cancel()

    # -- Record --------------------------------------------------------------------------------

    async def _record(self, verb: Verb) -> Any:
        call, behaviour = self.call, self.call.behaviour
        if verb.flag("playBeep", default=True):
            call.hears("beep")
        terms = RecordingTerms(
            callback=self._absolute(verb.get("recordingStatusCallback")),
            method=verb.get("recordingStatusCallbackMethod", "POST").upper(),
            events=tuple(verb.get("recordingStatusCallbackEvent", "completed").split()),
        )
        longest = float(verb.get("maxLength", "3600"))
        silence = float(verb.get("timeout", "5"))
        spoken = min(behaviour.record_seconds, longest)
        keys: asyncio.Queue[str] = asyncio.Queue()
        call.listener = keys
        link = self._link(verb.get("action"), verb.get("method", "POST"))
        recording = self.exchange.recordings.start(call, "RecordVerb", terms)
        if link:
            call.dial_action = replace(
                link,
                extra={"RecordingUrl": recording.url, "Digits": "hangup"},
            )
        key = asyncio.ensure_future(keys.get())
        digits = ""
        try:
            await self._key_or_timeout(key, min(spoken + silence, longest))
            if key.done() and key.result() in verb.get("finishOnKey", "1234567890*#"):
                digits = key.result()
        finally:
            key.cancel()
            call.listener = None
        call.dial_action = None
        self.exchange.recordings.stop(recording, silent=not spoken)
        if not spoken or link is None:
            return None
        return replace(
            link,
            extra={
                "RecordingUrl": recording.url,
                "RecordingSid": recording.sid,
                "RecordingDuration": str(recording.seconds),
                "Digits": digits,
            },
        )

    def _absolute(self, url: str) -> str:
        return urljoin(self.here.url, url) if url else ""

    # -- Dial ----------------------------------------------------------------------------------

    async def _dial(self, verb: Verb) -> Any:
        if self.whisper:
            self._error(13201, "Dial: Cannot Dial out from a Dial Call Segment")
            return None
        action = verb.get("action")
        link = self._link(action, verb.get("method", "POST")) if action else None
        room = next((noun for noun in verb.children if noun.name == "Conference"), None)
        self.call.dial_action = link
        try:
            if room is not None:
                result = await self._join(verb, room)
            else:
                result = await Dialing(self, verb).run()
        finally:
            self.call.dial_action = None
        if link is None:
            return None
        return replace(link, extra=result)

    async def _join(self, verb: Verb, noun: Verb) -> dict[str, str]:
        call = self.call
        if not noun.text or len(noun.text) > 128:
            self._error(13237, "Dial->Conference: Invalid Conference Name")
            return {"DialCallStatus": "failed"}
        terms = self._terms(noun)
        room = self.exchange.room(noun.text)
        if terms.coach and terms.coach not in room.participants:
            self._error(13240, "Dial->Conference: Invalid Whisper SID")
            self.exchange.drop_if_empty(room)
            return {"DialCallStatus": "failed"}
        try:
            participant = room.expect(call, terms)
        except JoinRefused as refusal:
            self._error(refusal.code, refusal.message)
            return {"DialCallStatus": "failed"}
        call.pick_up()
        if call.dial_action:
            call.dial_action = replace(call.dial_action, extra={"DialCallStatus": "answered"})
        if "timeLimit" in verb.attributes:
            call.later(
                "dial limit",
                verb.number("timeLimit", 14_400),
                lambda: room.leave(participant, "participant_hung_up"),
            )
        if verb.flag("hangupOnStar", default=False):
            star = self.exchange.spawn(
                self._star(lambda: room.leave(participant, "participant_hung_up"))
            )
            try:
                await room.connect(participant)
            finally:
                star.cancel()
        else:
            await room.connect(participant)
        call.forget("dial limit")
        return {"DialCallStatus": "answered"}

    async def _star(self, then: Callable[[], None]) -> None:
        keys: asyncio.Queue[str] = asyncio.Queue()
        self.call.listener = keys
        while await keys.get() != "*":
            pass
        self.call.listener = None
        then()

    def _terms(self, noun: Verb) -> Terms:
        words = noun.get("statusCallbackEvent").split()
        return Terms(
            muted=noun.flag("muted", default=False),
            beep=noun.get("beep", "true"),
            start_on_enter=noun.flag("startConferenceOnEnter", default=True),
            end_on_exit=noun.flag("endConferenceOnExit", default=False),
            label=noun.get("participantLabel"),
            wait_url=(
                None
                if "waitUrl" not in noun.attributes
                else (self._absolute(noun.get("waitUrl")) if noun.get("waitUrl") else "")
            ),
            wait_method=noun.get("waitMethod", "POST").upper(),
            max_participants=min(noun.number("maxParticipants", 250), 250),
            record=noun.get("record", "do-not-record") in ("record-from-start", "true"),
            region=noun.get("region", "us1"),
            coach=noun.get("coach"),
            status_callback=self._absolute(noun.get("statusCallback")),
            status_method=noun.get("statusCallbackMethod", "POST").upper(),
            status_events=tuple(word for word in words if word in EVENTS),
            recording_callback=self._absolute(noun.get("recordingStatusCallback")),
            recording_method=noun.get("recordingStatusCallbackMethod", "POST").upper(),
            recording_events=tuple(noun.get("recordingStatusCallbackEvent", "completed").split()),
        )


def _answers(verb: Verb, number: int) -> bool:
    """Whether this verb, at index `number` of its document, picks up an inbound call.

    A first <Pause> delays the pick-up. <Redirect> leaves it to the next document.
    answerOnBridge leaves it to the dialed party.
    """
    if verb.name == "Dial":
        return not verb.flag("answerOnBridge", default=False)
    return verb.name != "Redirect" and (verb.name != "Pause" or number > 0)


def _speak_into(spoken: list[str], keys: "asyncio.Queue[str]", sentence: str) -> None:
    spoken.append(sentence)
    keys.put_nowait("")


def wav_seconds(data: bytes) -> float | None:
    """The length of a WAV file in seconds, by its header. None for any other file."""
    if len(data) < 44 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    offset, rate = 12, 0
    while offset + 8 <= len(data):
        name, size = data[offset : offset + 4], struct.unpack_from("<I", data, offset + 4)[0]
        if name == b"fmt ":
            rate = struct.unpack_from("<I", data, offset + 16)[0]
        elif name == b"data":
            return size / rate if rate else None
        offset += 8 + size + size % 2
    return None
