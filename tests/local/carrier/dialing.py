"""<Dial> to people: <Number>, <Sip>, <Client>.

Source: Twilio docs, the dial verb and its nouns.
"""

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from .calls import Call, CallOptions, Source
from .parameters import SIP, number
from .recordings import RecordingTerms
from .twiml import Verb

if TYPE_CHECKING:
    from .player import Player

ALL_EVENTS = ("initiated", "ringing", "answered", "completed")


class Bridge:
    """Two calls talking to each other until `end`."""

    def __init__(self, caller: Call, called: Call):
        self.caller = caller
        self.called = called
        self.over = asyncio.Event()
        caller.bridge = called.bridge = self
        for one, other in ((caller, called), (called, caller)):
            one.hears(f"joined with {other.name}")
            one.joined()

    def speak(self, speaker: Call, sentence: str) -> None:
        listener = self.called if speaker is self.caller else self.caller
        listener.hears(f'{speaker.name}: "{sentence}"')

    def end(self) -> None:
        for call in (self.caller, self.called):
            call.bridge = None
            call.forget("joined", "goodbye")
        self.over.set()


class Dialing:
    """One <Dial> with its nouns: rings them at once, or one by one when `sequential`."""

    def __init__(self, player: "Player", verb: Verb):
        self.player = player
        self.verb = verb
        self.call = player.call
        self.exchange = player.exchange

    async def run(self) -> dict[str, str]:
        """Returns the parameters of the action URL: DialCallStatus, DialCallSid, …"""
        nouns = list(self.verb.children)
        if not nouns and self.verb.text:
            nouns = [Verb("Number", {}, self.verb.text)]
        targets = [(noun, to) for noun in nouns if (to := self._address(noun))]
        if not targets:
            self._error(13223, "Dial: nobody to call")
            return {"DialCallStatus": "failed"}
        self.call.hears("ringback")
        at_once = not self.verb.flag("sequential", default=False)
        legs: list[Call] = []
        winner = None
        for group in [targets] if at_once else [[target] for target in targets]:
            legs = [self._place(noun, to) for noun, to in group]
            winner = await self._first_to_answer(legs)
            if winner:
                break
        if winner is None:
            last = legs[-1]
            return {"DialCallStatus": last.status, "DialCallSid": last.sid, "DialBridged": "false"}
        return await self._talk(winner)

    def _error(self, code: int, message: str) -> None:
        self.exchange.debugger.error(
            code, message, call_sid=self.call.sid, url=self.player.here.url
        )

    def _address(self, noun: Verb) -> str:
        """The address that a noun dials; "" (and a line in the debugger) when it cannot."""
        to = {"Client": f"client:{noun.text}", "Sip": noun.text}.get(noun.name, "")
        if noun.name == "Number":
            to = number(noun.text) or ""
            if not to:
                self._error(13223, f"Dial: Invalid phone number format: {noun.text}")
        elif noun.name == "Sip" and not SIP.fullmatch(noun.text):
            self._error(13243, f"Dial->SIP: Invalid SIP URI: {noun.text}")
            return ""
        elif not to:
            self._error(12400, f"<{noun.name}> is a noun that this simulator does not simulate")
        if to and self.exchange.scripts.behaviour(to).refuse is not None:
            self._error(13224, f"Dial: Twilio does not support calling {to}")
            return ""
        return to

    def _place(self, noun: Verb, to: str) -> Call:
        here = self.player.here.url
        url, callback = noun.get("url"), noun.get("statusCallback")
        words = noun.get("statusCallbackEvent", "completed").split()
        options = CallOptions(
            source=Source(urljoin(here, url), noun.get("method", "POST").upper())
            if url
            else Source(),
            status_callback=urljoin(here, callback) if callback else "",
            status_method=noun.get("statusCallbackMethod", "POST").upper(),
            status_events=tuple(word for word in words if word in ALL_EVENTS),
            timeout=float(self.verb.get("timeout", "30")),
            send_digits=noun.get("sendDigits"),
            caller_id=self.verb.get("callerId"),
        )
        shown = self.verb.get("callerId") or (
            self.call.from_ if self.call.direction == "inbound" else self.call.to
        )
        leg = self.exchange.place_child(self.call, to, shown, options)
        self.call.children.append(leg)
        return leg

    async def _first_to_answer(self, legs: list[Call]) -> Call | None:
        waits = {
            asyncio.ensure_future(event.wait()): (leg, event is leg.ready)
            for leg in legs
            for event in (leg.ready, leg.finished)
        }
        pending = set(waits)
        try:
            while pending and not all(leg.ended for leg in legs):
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    leg, answered = waits[task]
                    if answered and not leg.ended:
                        for other in legs:
                            if other is not leg:
                                other.finish("canceled")
                        return leg
            return None
        finally:
            for task in waits:
                task.cancel()

    async def _talk(self, leg: Call) -> dict[str, str]:
        call, verb = self.call, self.verb
        call.pick_up()
        bridge = Bridge(call, leg)
        began = self.exchange.clock.seconds()
        recording = None
        if verb.get("record", "do-not-record") not in ("do-not-record", "false"):
            recording = self.exchange.recordings.start(
                call,
                "DialVerb",
                RecordingTerms(
                    callback=urljoin(self.player.here.url, verb.get("recordingStatusCallback"))
                    if verb.get("recordingStatusCallback")
                    else "",
                    method=verb.get("recordingStatusCallbackMethod", "POST").upper(),
                    events=tuple(verb.get("recordingStatusCallbackEvent", "completed").split()),
                    channels=2 if "dual" in verb.get("record") else 1,
                ),
            )
        call.later("dial limit", verb.number("timeLimit", 14_400), leg.finish, "completed")
        ends: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(leg.finished.wait()),
            asyncio.ensure_future(bridge.over.wait()),
        ]
        if verb.flag("hangupOnStar", default=False):
            ends.append(asyncio.ensure_future(self._star()))
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            call.forget("dial limit")
            call.listener = None
            if recording:
                self.exchange.recordings.stop(recording)
        bridge.end()
        leg.finish("completed")
        seconds = round(self.exchange.clock.seconds() - began)
        result = {
            "DialCallStatus": "completed",
            "DialCallSid": leg.sid,
            "DialCallDuration": str(seconds),
            "DialBridged": "true",
        }
        if recording:
            result["RecordingUrl"] = recording.url
        return result

    async def _star(self) -> None:
        keys: asyncio.Queue[str] = asyncio.Queue()
        self.call.listener = keys
        while await keys.get() != "*":
            pass
