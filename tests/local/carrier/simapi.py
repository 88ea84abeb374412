"""The simulator's own API under /sim, and the page at /.

The API shows the simulator's state, scripts parties, injects faults and steps the clock. Twilio has
nothing like it. It needs no credentials, because the simulator listens on loopback only.
"""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web

from . import messages, parameters
from .calls import VERSTAT, Call, Source
from .conferences import Conference
from .exchange import Exchange, Number
from .faults import FaultRule
from .resources import call_json, conference_json, message_json, participant_json
from .scenario import apply
from .scripts import Behaviour

PAGE = Path(__file__).with_name("page.html")
# How many calls, rooms and webhooks the page and /sim/state show.
SHOWN = 100


# The longest step in virtual seconds (some thirty years), and the highest speed.
LONGEST_STEP, FASTEST = 1e9, 1e6
SHORT_CODE = re.compile(r"[0-9]{3,8}", re.ASCII)


class Refused(Exception):
    """The request is refused. The response is {"error": …} with `status`."""

    def __init__(self, error: str, status: int = 400):
        super().__init__(error)
        self.status = status


class SimApi:
    """Routes of /sim over one exchange."""

    def __init__(self, exchange: Exchange):
        self.exchange = exchange

    def routes(self) -> list[web.RouteDef]:
        table: list[tuple[str, str, Callable[[web.Request], Awaitable[web.StreamResponse]]]] = [
            ("GET", "/", self.page),
            ("GET", "/sim/state", self.state),
            ("GET", "/sim/calls", self.calls),
            ("GET", "/sim/calls/{sid}", self.call),
            ("POST", "/sim/calls/{sid}/digits", self.digits),
            ("POST", "/sim/calls/{sid}/say", self.say),
            ("POST", "/sim/calls/{sid}/hangup", self.hangup),
            ("GET", "/sim/rooms", self.rooms),
            ("GET", "/sim/webhooks", self.webhooks),
            ("GET", "/sim/debugger", self.debugger),
            ("GET", "/sim/messages", self.messages),
            ("GET", "/sim/behaviours", self.behaviours),
            ("PUT", "/sim/behaviours/{match}", self.set_behaviour),
            ("DELETE", "/sim/behaviours/{match}", self.drop_behaviour),
            ("GET", "/sim/faults", self.faults),
            ("POST", "/sim/faults", self.add_fault),
            ("DELETE", "/sim/faults", self.clear_faults),
            ("GET", "/sim/settings", self.settings),
            ("PATCH", "/sim/settings", self.change_settings),
            ("GET", "/sim/clock", self.clock),
            ("PUT", "/sim/clock", self.set_clock),
            ("POST", "/sim/clock/advance", self.advance),
            ("GET", "/sim/numbers", self.numbers),
            ("PUT", "/sim/numbers/{number}", self.set_number),
            ("POST", "/sim/inbound-call", self.inbound_call),
            ("POST", "/sim/inbound-sms", self.inbound_sms),
            ("POST", "/sim/scenario", self.scenario),
            # Last: any other path.
            ("*", "/sim{rest:.*}", self.nothing),
        ]
        return [web.route(verb, path, _answer_errors(work)) for verb, path, work in table]

    async def nothing(self, request: web.Request) -> web.StreamResponse:
        raise Refused(f"there is no {request.method} {request.path}", 404)

    # -- state ---------------------------------------------------------------------------------

    async def page(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text=PAGE.read_text("utf-8"), content_type="text/html")

    async def state(self, _request: web.Request) -> web.StreamResponse:
        """The data of the page: the newest SHOWN entries of each list, newest first."""
        exchange = self.exchange
        return web.json_response(
            {
                "clock": self._clock(),
                "placed": exchange.placed,
                "live": exchange.live_calls,
                "queued": exchange.waiting(),
                "calls": [self._call(call) for call in _newest(exchange.calls)],
                "rooms": [self._room(room) for room in _newest(exchange.conferences)],
                "webhooks": [d.as_dict() for d in _last(exchange.webhooks.log)],
                "debugger": [line.as_dict() for line in _last(exchange.debugger.lines)],
                "crashes": exchange.crashes[-5:],
            }
        )

    def _call(self, call: Call) -> dict[str, Any]:
        return call_json(self.exchange, call) | {
            "room": call.participant.conference.name if call.participant else None,
            "sip_code": call.sip_code,
            "behaviour": call.behaviour.note,
            "hears": list(call.lines),
        }

    def _room(self, room: Conference) -> dict[str, Any]:
        return conference_json(self.exchange, room) | {
            "participants": [
                participant_json(self.exchange, p) | {"talking": p.talking}
                for p in room.participants.values()
            ]
        }

    async def calls(self, request: web.Request) -> web.StreamResponse:
        """All stored calls, oldest first. ?to= selects calls whose address contains it."""
        to = request.query.get("to", "")
        return web.json_response(
            [self._call(call) for call in self.exchange.calls.values() if to in call.to]
        )

    def _find(self, request: web.Request) -> Call:
        call = self.exchange.calls.get(request.match_info["sid"])
        if call is None:
            raise Refused("no such call", 404)
        return call

    async def call(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._call(self._find(request)))

    async def rooms(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response([self._room(r) for r in self.exchange.conferences.values()])

    async def webhooks(self, request: web.Request) -> web.StreamResponse:
        """The logged webhooks, oldest first. ?subject= and ?kind= filter them."""
        query = request.query
        return web.json_response(
            [
                d.as_dict()
                for d in self.exchange.webhooks.log
                if query.get("subject", d.subject) == d.subject
                and query.get("kind", d.kind) == d.kind
            ]
        )

    async def debugger(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response([line.as_dict() for line in self.exchange.debugger.lines])

    async def messages(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(
            [message_json(self.exchange, m) for m in self.exchange.messages.values()]
        )

    # -- parties -------------------------------------------------------------------------------

    async def digits(self, request: web.Request) -> web.StreamResponse:
        """{"digits": "1#"}: the party presses keys. 409 if nothing listens for keys."""
        keys = _text(await _body(request), "digits")
        if not self._find(request).press(keys):
            raise Refused("nothing is listening for keys on this call", 409)
        return web.json_response({})

    async def say(self, request: web.Request) -> web.StreamResponse:
        """{"text": "…"}: the party says something to the connected parties."""
        self._find(request).speak(_text(await _body(request), "text"))
        return web.json_response({})

    async def hangup(self, request: web.Request) -> web.StreamResponse:
        """The party hangs up."""
        self._find(request).hang_up()
        return web.json_response({})

    async def inbound_call(self, request: web.Request) -> web.StreamResponse:
        """{"to", "from", "url"?, "method"?, "behaviour"?, "verstat"?}: a caller calls the account's
        number.

        Without `url` the number's own voice URL is fetched. `verstat` is the caller
        network's attestation of the number, or "" without one.
        """
        body = await _body(request)
        to, from_ = _text(body, "to"), _text(body, "from")
        number = self._owned(to)
        verstat, method = body.get("verstat", VERSTAT), body.get("method", "POST")
        if not isinstance(verstat, str):
            raise Refused("verstat must be a text")
        if body.get("url"):
            if not parameters.is_url(_text(body, "url")) or method not in ("GET", "POST"):
                raise Refused("url must be an http or https URL, method GET or POST")
            source = Source(body["url"], method)
        elif number.voice_url:
            source = Source(
                number.voice_url,
                number.voice_method,
                fallback_url=number.voice_fallback_url,
                fallback_method=number.voice_fallback_method,
            )
        else:
            raise Refused(f"{to} has no voice URL, and the request has no url")
        behaviour = Behaviour.parse(
            body.get("behaviour", {}), self.exchange.scripts.behaviour(from_)
        )
        call = self.exchange.receive(to, from_, behaviour, source, verstat)
        return web.json_response(self._call(call), status=201)

    async def inbound_sms(self, request: web.Request) -> web.StreamResponse:
        """{"to", "from", "body"}: a text arrives at one of the account's numbers."""
        body = await _body(request)
        to, from_, text = _text(body, "to"), _text(body, "from"), body.get("body", "")
        self._owned(to)
        if not (parameters.number(from_) or SHORT_CODE.fullmatch(from_)):
            raise Refused(f"{from_} cannot text: give a phone number or a short code as from")
        if not isinstance(text, str):
            raise Refused("body must be a text")
        message = messages.receive(self.exchange, to=to, from_=from_, body=text)
        return web.json_response(message_json(self.exchange, message), status=201)

    def _owned(self, phone_number: str) -> Number:
        number = self.exchange.numbers.get(phone_number)
        if number is None or not number.owned:
            raise Refused(f"{phone_number} is no number of the account")
        return number

    # -- scripts, faults, settings, numbers ----------------------------------------------------

    async def behaviours(self, _request: web.Request) -> web.StreamResponse:
        scripts = self.exchange.scripts
        rules = {match: b.as_dict() for match, b in scripts.rules.items()}
        return web.json_response(rules | {"*": scripts.default.as_dict()})

    async def set_behaviour(self, request: web.Request) -> web.StreamResponse:
        """{field: value, …}: the behaviour of /sim/behaviours/1000123, /*99 or /* (the default)."""
        behaviour = Behaviour.parse(await _body(request))
        self.exchange.scripts.set(request.match_info["match"], behaviour)
        return web.json_response(behaviour.as_dict())

    async def drop_behaviour(self, request: web.Request) -> web.StreamResponse:
        if not self.exchange.scripts.drop(request.match_info["match"]):
            raise Refused("no such rule", 404)
        return web.Response(status=204)

    async def faults(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {number: asdict(rule) for number, rule in self.exchange.faults.items()}
        )

    async def add_fault(self, request: web.Request) -> web.StreamResponse:
        """A FaultRule as JSON, e.g. {"fault": "drop", "event": "ringing", "chance": 0.5}."""
        number = self.exchange.faults.add(FaultRule.parse(await _body(request)))
        return web.json_response({"number": number}, status=201)

    async def clear_faults(self, _request: web.Request) -> web.StreamResponse:
        self.exchange.faults.clear()
        return web.Response(status=204)

    async def settings(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(self.exchange.settings.as_dict())

    async def change_settings(self, request: web.Request) -> web.StreamResponse:
        self.exchange.settings.change(**await _body(request))
        return web.json_response(self.exchange.settings.as_dict())

    async def numbers(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(
            [asdict(n) | {"created": n.created.isoformat()} for n in self.exchange.numbers.values()]
        )

    async def set_number(self, request: web.Request) -> web.StreamResponse:
        """{"owned": true, "voice_url": …, "sms_url": …}: a number, or a caller id (owned false)."""
        number = parameters.number(request.match_info["number"])
        if number is None:
            raise Refused("not a phone number")
        apply(self.exchange, {"numbers": {number: await _body(request)}})
        return web.json_response({"sid": self.exchange.numbers[number].sid})

    async def scenario(self, request: web.Request) -> web.StreamResponse:
        """A whole scenario: {"settings", "behaviours", "faults", "numbers", "applications"}."""
        apply(self.exchange, await _body(request))
        return web.json_response({})

    # -- time ----------------------------------------------------------------------------------

    def _clock(self) -> dict[str, Any]:
        clock = self.exchange.clock
        return {
            "now": clock.now().isoformat(timespec="milliseconds"),
            "seconds": clock.seconds(),
            "speed": 0 if clock.stepped else clock.speed,
        }

    async def clock(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(self._clock())

    async def set_clock(self, request: web.Request) -> web.StreamResponse:
        """{"speed": 10}: ten times faster than real time. 0 makes the clock stepped."""
        self.exchange.clock.set_speed(_number(await _body(request), "speed", FASTEST))
        return web.json_response(self._clock())

    async def advance(self, request: web.Request) -> web.StreamResponse:
        """{"seconds": 30}: advance a stepped clock, and wait for the webhooks of that time."""
        seconds = _number(await _body(request), "seconds", LONGEST_STEP)
        await self.exchange.clock.advance(seconds)
        return web.json_response(self._clock())


def _newest(entries: dict[str, Any]) -> list[Any]:
    return [value for value, _ in zip(reversed(entries.values()), range(SHOWN), strict=False)]


def _last(entries: Any) -> list[Any]:
    return [value for value, _ in zip(reversed(entries), range(SHOWN), strict=False)]


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError, web.RequestPayloadError) as error:
        raise Refused(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused("the body must be a JSON object")
    return body


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(f"{name} is missing or not a string")
    return value


def _number(body: dict[str, Any], name: str, most: float) -> float:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise Refused(f"{name} must be a number from 0 to {most:,.0f}")
    return float(value)


def _answer_errors(
    work: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            return await work(request)
        except Refused as refused:
            return web.json_response({"error": str(refused)}, status=refused.status)
        except (
            web.HTTPException
        ) as refused:  # raised by aiohttp, for example for a body that is too long
            return web.json_response({"error": refused.reason}, status=refused.status)
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)

    return handler
