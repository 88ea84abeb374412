"""What the service writes anywhere but in its table names nobody, whatever goes wrong.

`tests/support/canary.py` listens during every test; here canaries are driven through every door,
and what was written is read once more.
"""

import uuid

import pytest
import requests

from callback.requests import idempotent
from tests.e2e.test_carrier_door import send, status_path, told
from tests.support.canary import Canaries, listening
from tests.support.client import between, has_ended, leg_is

REFUSED = "+14155550107"  # the carrier refuses it, in a sentence that quotes the number
RINGS = "+14155550103"  # and never answers
TALKS = "sip:canary-7d1f@pbx.example"
# Recognised by the digits alone, without + or sip:.
MARKS = (REFUSED[1:], RINGS[1:], "canary-7d1f", "ticket-of-a-canary")


@pytest.fixture
def canaries():
    """Hears what this test brings about, beside the plugin."""
    heard = Canaries()
    for mark in MARKS:
        heard.learn("a canary", mark)
    with listening(heard):
        yield heard


def test_canaries_sent_to_every_endpoint_appear_nowhere(client, stack, canaries):
    body = between(RINGS, TALKS, metadata={"ticket": "ticket-of-a-canary"})
    body["allow_parallel"] = False
    refused = client.post(between(REFUSED, TALKS))
    assert (refused.status_code, refused.json()["carrier_code"]) == (422, 21215)
    assert client.ended(between(TALKS, "1000218"))["outcome"] == "completed"

    key = {"Idempotency-Key": str(uuid.uuid4())}
    callback_id = client.post(body, **key).json()["callback_id"]
    assert client.post(body, **key).headers["Idempotent-Replayed"] == "true"
    assert client.post({**body, "order": "reverse"}, **key).status_code == 422
    assert client.post(body).status_code == 409
    record = client.record_when(callback_id, leg_is("A", "ringing"))
    for wrong in (
        {**body, "leg_A": {"to": f"{RINGS}\n"}},
        {**body, RINGS: TALKS},
        {**body, "leg_B": {"to": RINGS}},
    ):
        assert client.post(wrong).status_code == 400
    assert client.post_raw(f"To={RINGS}&From={TALKS}".encode()).status_code == 400
    assert client.get(RINGS).status_code == 404
    assert client.list(number=RINGS).json()["callbacks"][0]["callback_id"] == callback_id
    assert client.list(colour=RINGS).status_code == 400

    parties = {"To": RINGS, "From": TALKS, "Called": RINGS, "CallerName": "ticket-of-a-canary"}
    genuine = told(stack, record, **parties)
    for door in ("status", "twiml"):
        path = status_path(record).replace("/status/", f"/{door}/")
        assert send(stack, path, genuine, token="a stranger's").status_code == 403
    unknown = {**genuine, "CallStatus": "levitating"}
    assert send(stack, status_path(record), unknown).status_code == 204
    assert send(stack, "/carrier/status/no-such/A/1", genuine).status_code == 204
    assert send(stack, "/carrier/fallback", {**genuine, "ErrorCode": "11200"}).status_code == 200

    client.delete(callback_id)
    client.record_when(callback_id, has_ended)
    stranger = {"Authorization": f"Bearer {RINGS[1:]}.{TALKS}"}
    assert requests.get(client.url + "/voice/call/callback", headers=stranger).status_code == 403

    assert canaries.kinds_in(stack.execution_text(callback_id), tokens=False) == set()
    assert canaries.kinds_in(stack.logged()) == set()
    assert canaries.forget() == []
    assert callback_id in stack.logged(), "something is logged of it"


@pytest.mark.parametrize("crash", [KeyError, ValueError, RuntimeError])
def test_a_crash_whose_message_quotes_a_number_names_nobody(
    client, stack, canaries, monkeypatch, crash
):
    """Lambda would write the message into the log, the trace and the answer."""

    def crashed(_intake, requested, _key):
        to = requested.request.leg_a.to
        try:
            int(to[1:] + " is not a number")
        except ValueError as error:
            raise crash(f"{to} cannot be called") from error

    monkeypatch.setattr(idempotent, "post", crashed)
    answer = client.post(between(RINGS, TALKS))
    assert (answer.status_code, answer.json()) == (500, {"message": "Internal Server Error"})
    assert canaries.forget() == []
    assert f"{crash.__name__}: message redacted" in stack.logged()
    assert "in crashed" in stack.logged(), "and where it was, is"
