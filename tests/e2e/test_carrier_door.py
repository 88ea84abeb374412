"""Only the carrier comes in by the carrier's door, and what it tells twice counts once."""

import pytest
import requests
from twilio.request_validator import RequestValidator

from tests.support.client import between, has_ended, leg_is


@pytest.fixture
def ringing(client):
    """A callback whose first party's phone rings and is never answered."""
    callback_id = client.accepted(between("1000203", "1000125"))
    yield client.record_when(callback_id, leg_is("A", "ringing"))
    client.delete(callback_id)


def told(stack, record, **fields):
    return {
        "AccountSid": stack.account_sid,
        "CallSid": record["leg_A"]["call_sid"],
        "CallStatus": "busy",
        "CallDuration": "0",
        "CallerZip": "",
        **fields,
    }


def send(stack, path, fields, *, token=None, signature=None, signed_path=None, **options):
    url = stack.url + (signed_path or path)
    if signature is None:
        signature = RequestValidator(token or stack.auth_token).compute_signature(url, fields)
    headers = {"X-Twilio-Signature": signature} if signature else {}
    return requests.post(stack.url + path, data=options.get("data", fields), headers=headers)


def status_path(record, leg="A", attempt=1):
    return f"/carrier/status/{record['callback_id']}/{leg}/{attempt}"


def test_a_signed_event_is_recorded_once_even_if_sent_twice(client, stack, ringing):
    for _ in range(2):
        assert send(stack, status_path(ringing), told(stack, ringing)).status_code == 204
    record = client.record_when(ringing["callback_id"], has_ended)
    assert record["outcome"] == "first_leg_busy"


@pytest.mark.parametrize("door", ["status", "twiml"])
@pytest.mark.parametrize(
    "forgery",
    [
        {"signature": ""},
        {"signature": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
        {"token": "somebody else's"},
        {"signed_path": "/carrier/status/another/A/1"},
        {"data": "CallStatus=busy"},
        {"data": b"\xff\xfe\x00"},
    ],
    ids=["missing", "wrong", "another token", "replayed elsewhere", "changed", "not text"],
)
def test_a_forged_webhook_is_403_and_writes_nothing(client, stack, ringing, door, forgery):
    path = status_path(ringing).replace("/status/", f"/{door}/")
    answer = send(stack, path, told(stack, ringing), **forgery)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "<Response" not in answer.text
    assert client.get(ringing["callback_id"]).json() == ringing


def test_a_genuine_event_replayed_on_the_other_leg_is_403(stack, ringing):
    fields = told(stack, ringing)
    answer = send(stack, status_path(ringing, "B"), fields, signed_path=status_path(ringing, "A"))
    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/carrier/conference/x", "/carrier/wait/x", "/carrier/fallback"])
def test_every_carrier_endpoint_requires_a_signature(stack, path):
    assert requests.post(stack.url + path, data={"a": "b"}).status_code == 403


def test_a_call_that_no_callback_knows_is_hung_up(stack):
    fields = {
        "AccountSid": stack.account_sid,
        "CallSid": "CA" + "0" * 32,
        "CallStatus": "in-progress",
    }
    answer = send(stack, "/carrier/twiml/no-such/A/1", fields)
    assert answer.status_code == 200
    assert "<Hangup" in answer.text
    assert "<Dial" not in answer.text


def test_an_event_of_an_unknown_callback_is_accepted_and_dropped(stack):
    fields = {"AccountSid": stack.account_sid, "CallSid": "CA" + "0" * 32, "CallStatus": "busy"}
    assert send(stack, "/carrier/status/no-such/A/1", fields).status_code == 204


def test_a_second_call_of_the_same_leg_is_not_admitted(client, stack, ringing):
    call_sid = ringing["leg_A"]["call_sid"]
    fields = told(stack, ringing, CallSid="CA" + "9" * 32, CallStatus="in-progress")
    answer = send(stack, status_path(ringing).replace("status", "twiml"), fields)
    assert "<Hangup" in answer.text
    assert client.get(ringing["callback_id"]).json()["leg_A"]["call_sid"] == call_sid


def test_an_unknown_carrier_status_changes_nothing(client, stack, ringing):
    fields = told(stack, ringing, CallStatus="levitating")
    assert send(stack, status_path(ringing), fields).status_code == 204
    assert client.get(ringing["callback_id"]).json()["leg_A"]["status"] == "ringing"
    assert "unknown call status" in stack.logged()
