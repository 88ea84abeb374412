"""Scenarios 17 and 18: who comes in by the carrier's door, and by which name it is called.

`tests/e2e/test_carrier_door.py` and `tests/unit/carrier/twilio/test_signature.py` have the other
forgeries.
"""

import base64
import json
import sys
import time
from urllib.parse import parse_qsl, urlencode

import pytest
import requests
from twilio.request_validator import RequestValidator

from callback.carrier.credentials import CredentialStore
from tests.support.play import Play
from tests.support.world import ACCOUNT_SID, AUTH_TOKEN, TABLE

STRANGER = "AC" + "9" * 32


def signature_of(url: str, fields, token: str = AUTH_TOKEN) -> str:
    return RequestValidator(token).compute_signature(url, fields)


def rows(play: Play) -> list:
    """The whole table."""
    items = play.world._dynamodb.scan(TableName=TABLE)["Items"]
    return sorted(items, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


# -- 17: forged and replayed ---------------------------------------------------------------------


def forgeries(url: str, genuine: dict[str, str]) -> dict[str, tuple[str, str, str]]:
    """By name: (body, signature, content type), each one step from what the carrier sends."""
    form = "application/x-www-form-urlencoded"
    signature = signature_of(url, genuine)
    stranger = {**genuine, "AccountSid": STRANGER}
    twice = list(genuine.items())
    huge = {**genuine, "Padding": "x" * 1024 * 1024}
    # What is signed runs names and values together, so these carry a right signature.
    moved = {k: v for k, v in genuine.items() if k != "CallStatus"}
    within_a_name = {**moved, "CallStatusb": genuine["CallStatus"][1:]}
    swallowed = {k: v for k, v in moved.items() if k != "CallSid"}
    swallowed["CallSid"] = f"{genuine['CallSid']}CallStatus{genuine['CallStatus']}"
    others = {
        "another callback's": url.replace("/A/1", "-/A/1"),
        "the other leg's": url.replace("/A/1", "/B/1"),
        "another attempt's": url.replace("/A/1", "/A/2"),
        "another host's": url.replace("127.0.0.1", "localhost"),
    }
    return {
        "no signature": (urlencode(genuine), "", form),
        "a stranger's token": (urlencode(genuine), signature_of(url, genuine, "theirs"), form),
        "another account": (urlencode(stranger), signature_of(url, stranger), form),
        "another account, unsigned": (urlencode(stranger), signature, form),
        "a changed field": (urlencode({**genuine, "CallStatus": "completed"}), signature, form),
        "an added field": (urlencode({**genuine, "Extra": "1"}), signature, form),
        "a field left out": (urlencode(twice[:-1]), signature, form),
        "a field twice": (urlencode([*twice, ("CallStatus", "completed")]), signature, form),
        "JSON": (json.dumps(genuine), signature, "application/json"),
        "a megabyte": (urlencode(huge), signature_of(url, huge), form),
        "no body": ("", signature_of(url, {}), form),
        "a boundary moved within a name": (urlencode(within_a_name), signature, form),
        "a value that swallows the next field": (urlencode(swallowed), signature, form),
    } | {
        f"the signature of {whose} URL": (urlencode(genuine), signature_of(other, genuine), form)
        for whose, other in others.items()
    }


@pytest.mark.parametrize("door", ["status", "twiml"])
@pytest.mark.parametrize("forgery", forgeries("", {"CallStatus": "busy", "CallSid": "-"}))
def test_a_forged_webhook_is_refused_and_writes_nothing_at_all(ringing, forgery, door):
    play, callback_id, genuine = ringing
    url = f"{play.world.url}/carrier/{door}/{callback_id}/A/1"
    before = rows(play)
    body, signature, content_type = forgeries(url, genuine)[forgery]
    if "boundary" in forgery or "swallows" in forgery:
        assert signature_of(url, dict(parse_qsl(body, keep_blank_values=True))) == signature
    answer = requests.post(
        url,
        data=body.encode(),
        headers={"Content-Type": content_type, "X-Twilio-Signature": signature},
    )
    assert rows(play) == before
    assert answer.status_code == 403
    assert "<Response" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/carrier/status/{id}/B/1",
        "/carrier/status/{id}/A/2",
        "/carrier/status/another/A/1",
        "/carrier/twiml/{id}/A/1",
        "/carrier/conference/{id}",
    ],
    ids=["other leg", "other attempt", "other callback", "other door", "the room"],
)
def test_a_genuine_webhook_is_genuine_at_its_own_url_only(ringing, path):
    play, callback_id, genuine = ringing
    signature = signature_of(f"{play.world.url}/carrier/status/{callback_id}/A/1", genuine)
    before = rows(play)
    answer = requests.post(
        play.world.url + path.format(id=callback_id),
        data=genuine,
        headers={"X-Twilio-Signature": signature},
    )
    assert answer.status_code == 403
    assert rows(play) == before


def test_a_genuine_event_replayed_later_changes_nothing(ringing):
    play, callback_id, genuine = ringing
    path = f"/carrier/status/{callback_id}/A/1"
    assert play.webhook(path, **genuine).status_code == 204
    record = play.ended(callback_id, within=5)
    play.let(5)
    before = rows(play)
    assert play.webhook(path, **genuine).status_code == 204
    assert rows(play) == before
    assert play.record(callback_id) == record


# -- 18: the URL that was signed ------------------------------------------------------------------

PATH = "/carrier/status/{id}/A/1"
PUBLIC_URLS = {
    "execute-api": ("https://a1b2c3.execute-api.eu-west-1.amazonaws.com", ""),
    "execute-api with a stage": (
        "https://a1b2c3.execute-api.eu-west-1.amazonaws.com/prod",
        "/prod",
    ),
    "a domain of one's own": ("https://callback.example.com", ""),
    "a domain with a base path": ("https://api.example.com/callback/v1", "/callback/v1"),
}


def carrier_door():
    """The module that serves the carrier, to be given another public URL or secret."""
    (name,) = (n for n in sys.modules if n.startswith("local") and n.endswith("_CarrierWebhook"))
    return sys.modules[name]


def deliver(play: Play, callback_id: str, body: str, signature: str, *, prefix="", plain=True, **h):
    """Invoke the function with the gateway's event, whose rawPath has the stage or base path."""
    event = {
        "version": "2.0",
        "routeKey": "POST /carrier/status/{callback_id}/{leg}/{attempt}",
        "rawPath": prefix + PATH.format(id=callback_id),
        "rawQueryString": "",
        "headers": {
            "host": "internal.example.net",
            "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
            "x-twilio-signature": signature,
            **h,
        },
        "requestContext": {
            "domainName": "internal.example.net",
            "stage": prefix.strip("/") or "$default",
            "http": {"method": "POST", "path": prefix + PATH.format(id=callback_id)},
        },
        "pathParameters": {"callback_id": callback_id, "leg": "A", "attempt": "1"},
        "body": body if plain else base64.b64encode(body.encode()).decode(),
        "isBase64Encoded": not plain,
    }
    answer, error = play.world.invoke("CarrierWebhook", event)
    assert error is None, answer
    return answer["statusCode"]


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "base64"])
@pytest.mark.parametrize("name", PUBLIC_URLS)
def test_a_genuine_webhook_is_taken_under_every_name_that_the_api_may_have(
    ringing, monkeypatch, name, plain
):
    play, callback_id, genuine = ringing
    public_url, prefix = PUBLIC_URLS[name]
    monkeypatch.setattr(carrier_door(), "PUBLIC_URL", public_url)
    signature = signature_of(public_url + PATH.format(id=callback_id), genuine)
    body = urlencode(genuine)
    assert deliver(play, callback_id, body, signature, prefix=prefix, plain=plain) == 204
    assert play.record(callback_id)["leg_A"]["outcome"] == "busy"


SPOOFED = {
    "host": "evil.example",
    "x-forwarded-host": "evil.example",
    "x-forwarded-proto": "http",
    "x-forwarded-port": "8080",
    "x-original-url": "/carrier/status/another/A/1",
    "forwarded": "host=evil.example;proto=http",
}


def test_headers_that_name_another_host_change_nothing(ringing):
    play, callback_id, genuine = ringing
    path, body = PATH.format(id=callback_id), urlencode(genuine)
    for evil in ("http://evil.example", "https://evil.example", "http://evil.example:8080"):
        signature = signature_of(evil + path, genuine)
        assert deliver(play, callback_id, body, signature, **SPOOFED) == 403
    assert play.record(callback_id)["leg_A"]["outcome"] is None
    signature = signature_of(play.world.url + path, genuine)
    assert deliver(play, callback_id, body, signature, **SPOOFED) == 204


@pytest.mark.parametrize("space", ["+", "%20"])
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "base64"])
def test_blanks_and_both_ways_to_write_a_space_are_what_was_signed(ringing, space, plain):
    play, callback_id, genuine = ringing
    fields = {**genuine, "CallerName": "Zoë van Dijk + sons", "ToCity": "", "FromZip": ""}
    body = urlencode(fields).replace("+", space)
    assert "ToCity=&" in body
    signature = signature_of(play.world.url + PATH.format(id=callback_id), fields)
    assert deliver(play, callback_id, body, signature, plain=plain) == 204


class Secret:
    """The parameter as it is stored, behind the cache of a function's parameters."""

    def __init__(self, **value: str) -> None:
        self.value = self.cached = value

    def get(self, _name, *, force_fetch):
        if force_fetch:
            self.cached = self.value
        return json.dumps({"account_sid": ACCOUNT_SID, **self.cached})


def test_both_tokens_of_a_rotation_count_while_the_old_secret_is_still_cached(ringing, monkeypatch):
    play, callback_id, genuine = ringing
    secret = Secret(auth_token="old")
    monkeypatch.setattr(carrier_door(), "credentials", CredentialStore("name", secret))
    url, body = play.world.url + PATH.format(id=callback_id), urlencode(genuine)
    signed = {token: signature_of(url, genuine, token) for token in ("old", "new", "newer")}

    assert deliver(play, callback_id, body, signed["new"]) == 403, "not rotated yet"
    now = time.monotonic() + 31  # a failed signature makes us look at most every 30 s
    monkeypatch.setattr(time, "monotonic", lambda: now)
    secret.value = {"auth_token": "new", "previous_auth_token": "old"}
    assert deliver(play, callback_id, body, signed["old"]) == 204
    assert deliver(play, callback_id, body, signed["new"]) == 204
    assert deliver(play, callback_id, body, signed["old"]) == 204
    assert deliver(play, callback_id, body, signed["newer"]) == 403
