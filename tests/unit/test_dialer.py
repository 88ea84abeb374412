"""What became of a create request: only what is certainly harmless may be sent again."""

import json
from datetime import timedelta

import pytest
import requests
import urllib3
from twilio.base.exceptions import TwilioException, TwilioRestException

from callback.dialer import Sent, classify


def refused(status, code=None):
    return TwilioRestException(status, "/Calls.json", msg="no", code=code)


def not_connected():
    reason = urllib3.exceptions.NewConnectionError(None, "connection refused")
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/", reason))


def reset():
    return requests.ConnectionError(urllib3.exceptions.ProtocolError("reset by peer"))


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (refused(429, 20429), Sent.NOT_SENT),
        (not_connected(), Sent.NOT_SENT),
        (requests.ConnectTimeout(), Sent.NOT_SENT),
        (refused(400, 21211), Sent.REJECTED),
        (refused(401, 20003), Sent.REJECTED),
        (refused(403, 20005), Sent.REJECTED),
        (refused(404, 20404), Sent.REJECTED),
        (refused(500, 20500), Sent.UNKNOWN),
        (refused(502), Sent.UNKNOWN),
        (refused(503, 20503), Sent.UNKNOWN),
        (refused(302), Sent.UNKNOWN),
        (requests.ReadTimeout(), Sent.UNKNOWN),
        (requests.ConnectionError(), Sent.UNKNOWN),
        (reset(), Sent.UNKNOWN),
        (requests.exceptions.ChunkedEncodingError(), Sent.UNKNOWN),
        (json.JSONDecodeError("not JSON", "<html>", 0), Sent.UNKNOWN),
        (TwilioException("odd"), Sent.UNKNOWN),
    ],
    ids=lambda value: str(value) if isinstance(value, Sent) else repr(value)[:60],
)
def test_a_failed_create_request_is_classified(error, sent):
    assert classify(error).sent is sent


def test_a_refusal_keeps_the_carriers_own_code():
    assert classify(refused(400, 21215)).carrier_code == 21215


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("999999", 999_999),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("9" * 400, None),
        ("Tue, 24 Nov 2026 12:00:07 GMT", None),
    ],
)
def test_a_carrier_that_turns_a_request_away_may_say_when_to_ask_again(header, seconds):
    told = classify(refused(429, 20429), header).retry_after
    assert told == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize("error", [refused(400, 21211), refused(503, 20503), not_connected()])
def test_when_to_ask_again_means_nothing_with_another_answer(error):
    assert classify(error, "7") == classify(error)
