"""<Dial> to people: <Number>, <Sip>, <Client>.

Source: Twilio docs, the dial verb and its nouns.
"""

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from .calls import Call, CallOptions, Source
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
        """Returns what the action URL is told: DialCallStatus, DialCallSid, …"""
        targets = [noun for noun in self.verb.children if noun.text]
        if not targets and self.verb.text:
            targets = [Verb("Number", {}, self.verb.text)]
        if not targets:
            self.exchange.debugger.error(
                13223, "Dial: nobody to call", call_sid=self.call.sid, url=self.player.here.url
            )
            return {"DialCallStatus": "failed"}
        self.call.hears("ringback")
        if self.verb.flag("sequential", default=False):
            legs: list[Call] = []
            winner = None
            for noun in targets:
                legs = [self._place(noun)]
                winner = await self._first_to_answer(legs)
                if winner:
                    break
        else:
            legs = [self._place(noun) for noun in targets]
            winner = await self._first_to_answer(legs)
        if winner is None:
            last = legs[-1]
            return {"DialCallStatus": last.status, "DialCallSid": last.sid, "DialBridged": "false"}
        return await self._talk(winner)

    def _place(self, noun: Verb) -> Call:
        here = self.player.here.url
        to = noun.text if noun.name != "Client" else f"client:{noun.text}"
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
        ends = [
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
