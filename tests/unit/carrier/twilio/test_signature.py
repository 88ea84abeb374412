"""All of the carrier's own webhooks are accepted, and no others."""

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from callback.carrier.credentials import Credentials
from callback.carrier.twilio.signature import Form, genuine_form, is_genuine
from callback.errors import Forbidden

VECTORS = json.loads((Path(__file__).parent / "twilio_signature_vectors.json").read_text())[
    "vectors"
]
# Signed over %27 where the URL contains an apostrophe: only Twilio's Node SDK accepts it. Our URLs
# have no query, so no webhook of ours can have one.
REFUSED_BY_THE_PYTHON_SDK = "apostrophe-in-query"


def body_of(vector):
    return (
        urlencode([tuple(pair) for pair in vector["form"]])
        if vector["kind"] == "form"
        else vector["body"]
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_a_published_signature_is_genuine(vector):
    form = Form(body_of(vector)) if vector["kind"] == "form" else vector["body"]
    genuine = is_genuine(vector["url"], form, vector["expected"], [vector["auth_token"]])
    assert genuine is (vector["id"] != REFUSED_BY_THE_PYTHON_SDK)
    assert not is_genuine(vector["url"], form, vector["expected"], ["12346"])


URL = "https://callback.example.com/carrier/status/cb-1/A/1"
OURS = Credentials("AC" + "1" * 32, "token-now", "token-before")
FIELDS = {
    "AccountSid": OURS.account_sid,
    "CallSid": "CA" + "a" * 32,
    "CallStatus": "ringing",
    "CallerZip": "",
}


class Stored:
    """`cached`: credentials from the cache. `fresh`: those that a refetch returns."""

    def __init__(self, cached=OURS, fresh=None):
        self.cached, self.fresh = cached, fresh

    def get(self):
        return self.cached

    def refetch(self):
        return self.fresh


def signed(fields, token="token-now", url=URL):
    return RequestValidator(token).compute_signature(url, fields)


def test_the_signature_covers_blank_fields():
    body = urlencode(FIELDS).encode()
    assert b"CallerZip=&" in body + b"&"
    assert genuine_form(URL, body, signed(FIELDS), Stored())["CallStatus"] == "ringing"


@pytest.mark.parametrize("token", ["token-now", "token-before"])
def test_both_tokens_of_a_rotation_are_accepted(token):
    assert genuine_form(URL, urlencode(FIELDS).encode(), signed(FIELDS, token), Stored())


def test_a_token_that_was_just_rotated_is_refetched_once():
    new = Credentials(OURS.account_sid, "token-next")
    body, signature = urlencode(FIELDS).encode(), signed(FIELDS, "token-next")
    assert genuine_form(URL, body, signature, Stored(fresh=new))
    with pytest.raises(Forbidden):
        genuine_form(URL, body, signature, Stored(fresh=None))


FOREIGN = {**FIELDS, "AccountSid": "AC" + "9" * 32}


@pytest.mark.parametrize(
    ("url", "body", "signature"),
    [
        (URL, urlencode(FIELDS).encode(), None),
        (URL, urlencode(FIELDS).encode(), ""),
        (URL, urlencode(FIELDS).encode(), "not base64 at all"),
        (URL, urlencode(FIELDS).encode(), signed(FIELDS, "somebody else's token")),
        (URL, urlencode(FOREIGN).encode(), signed(FOREIGN)),
        (URL.replace("/A/", "/B/"), urlencode(FIELDS).encode(), signed(FIELDS)),
        (URL.replace("cb-1", "cb-2"), urlencode(FIELDS).encode(), signed(FIELDS)),
        (URL.replace("https", "http"), urlencode(FIELDS).encode(), signed(FIELDS)),
        (URL, urlencode({**FIELDS, "CallStatus": "busy"}).encode(), signed(FIELDS)),
        (URL, urlencode({**FIELDS, "Extra": "1"}).encode(), signed(FIELDS)),
        (URL, json.dumps(FIELDS).encode(), signed(FIELDS)),
        (URL, b"\xff\xfe", signed(FIELDS)),
        (URL, urlencode(FIELDS).encode() + b"&x=" + b"y" * 70_000, signed(FIELDS)),
        (URL, b"", signed({})),
    ],
    ids=[
        "no header",
        "empty header",
        "garbage",
        "another token",
        "another account",
        "replayed on the other leg",
        "replayed on another callback",
        "replayed over http",
        "a changed field",
        "an added field",
        "a JSON body",
        "not text",
        "a huge body",
        "an empty body",
    ],
)
def test_a_forged_webhook_is_refused(url, body, signature):
    with pytest.raises(Forbidden):
        genuine_form(url, body, signature, Stored())
