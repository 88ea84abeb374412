"""The requests that are measured: those in events/, with parties and calls of their own.

No two requests call the same number: a cache by number then saves only what it saves in one
request. Numbers are fictional (555-01xx, NANPA).
"""

import base64
import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from twilio.request_validator import RequestValidator

from tests.bench.build import ROOT
from tests.bench.world import PUBLIC_URL, Created, World

_AREAS = (201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219)

Event = dict[str, Any]


def read(name: str) -> Event:
    return json.loads((ROOT / "events" / f"{name}.json").read_text("utf-8"))


def numbers() -> Iterator[str]:
    """Telephone numbers, each once."""
    for line, area in itertools.product(range(100), _AREAS):
        yield f"+1{area}55501{line:02}"


class Parties:
    """Creates requests of which no two call the same number."""

    def __init__(self) -> None:
        self._numbers = numbers()

    def post(self) -> Event:
        """A request to our function. Both parties see the tenant's number."""
        body = {"leg_A": {"to": next(self._numbers)}, "leg_B": {"to": next(self._numbers)}}
        return _with_body(read("callback_api/create"), json.dumps(body))

    def textbook_post(self) -> Event:
        body = {"a": next(self._numbers), "b": next(self._numbers)}
        return _with_body(read("callback_api/create"), json.dumps(body))


def ringing(world: World, call: Created) -> Event:
    """The carrier reports to the call's own URL that it rings."""
    path = urlsplit(call.status_url).path
    callback_id, leg, attempt = path.split("/")[-3:]
    event = _status(world, PUBLIC_URL + path, call.sid)
    event["pathParameters"] = {"callback_id": callback_id, "leg": leg, "attempt": attempt}
    return event


def textbook_ringing(world: World, sid: str) -> Event:
    event = _status(world, f"{PUBLIC_URL}/carrier/status", sid)
    event["routeKey"] = event["requestContext"]["routeKey"] = "POST /carrier/status"
    del event["pathParameters"]
    return event


def _status(world: World, url: str, sid: str) -> Event:
    event = read("carrier_webhook/status")
    form = dict(parse_qsl(base64.b64decode(event["body"]).decode(), keep_blank_values=True))
    for name in ("SipResponseCode", "Duration", "CallDuration"):
        del form[name]  # of a call that has ended
    form |= {"AccountSid": world.account_sid, "CallSid": sid, "CallStatus": "ringing"}
    event = _with_body(event, base64.b64encode(urlencode(form).encode()).decode())
    validator = RequestValidator(world.auth_token)
    event["headers"]["x-twilio-signature"] = validator.compute_signature(url, form)
    event["rawPath"] = event["requestContext"]["http"]["path"] = urlsplit(url).path
    return event


def _with_body(event: Event, body: str) -> Event:
    event = copy.deepcopy(event)
    event["body"] = body
    event["headers"]["content-length"] = str(len(body))
    return event
