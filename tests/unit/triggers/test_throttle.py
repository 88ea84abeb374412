"""A throttle allows an action so often for each address, and the first requests win."""

import json
from datetime import timedelta

import pytest

from callback import clock
from callback.amounts import Rate
from callback.storage.table import Table
from callback.triggers.throttle import Throttle
from tests.support.build import NOON, at

NUMBER, HOUR = "+14155550123", timedelta(hours=1)
TWICE = Rate(2, seconds=3600)


class FixedPepper:
    def get(self):
        return "0123456789abcdef0123456789abcdef"


@pytest.fixture
def throttle(client, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOON)
    return Throttle(Table(client, "callbacks"), FixedPepper())


def test_the_second_request_is_denied_and_a_repeated_first_one_is_allowed(throttle):
    assert throttle.allow_once("acme", "call", NUMBER, HOUR, by="1")
    assert not throttle.allow_once("acme", "call", NUMBER, HOUR, by="2")
    assert throttle.allow_once("acme", "call", NUMBER, HOUR, by="1")


def test_each_tenant_action_and_address_is_throttled_separately(throttle):
    assert throttle.allow_once("acme", "call", NUMBER, HOUR, by="1")
    assert throttle.allow_once("other", "call", NUMBER, HOUR, by="2")
    assert throttle.allow_once("acme", "help", NUMBER, HOUR, by="2")
    assert throttle.allow_once("acme", "call", "+14155550124", HOUR, by="2")


def test_the_next_request_is_allowed_when_the_time_is_over(throttle, monkeypatch):
    assert throttle.allow_once("acme", "call", NUMBER, HOUR, by="1")
    monkeypatch.setattr(clock, "now", lambda: at(3599))
    assert not throttle.allow_once("acme", "call", NUMBER, HOUR, by="2")
    monkeypatch.setattr(clock, "now", lambda: at(3600))
    assert throttle.allow_once("acme", "call", NUMBER, HOUR, by="3")
    assert not throttle.allow_once("acme", "call", NUMBER, HOUR, by="1"), (
        "the first's hour is over too"
    )


def test_requests_within_the_rate_are_allowed_repeatedly_and_the_next_is_denied(
    throttle, monkeypatch
):
    def allowed(by: str) -> bool:
        return throttle.allow("acme", "text", NUMBER, TWICE, by=by)

    assert {by: allowed(by) for by in ("1", "2", "3")} == {"1": True, "2": True, "3": False}
    assert {by: allowed(by) for by in ("1", "2", "4")} == {"1": True, "2": True, "4": False}
    assert throttle.allow("other", "text", NUMBER, TWICE, by="3")
    monkeypatch.setattr(clock, "now", lambda: at(3599))
    assert not allowed("3")
    monkeypatch.setattr(clock, "now", lambda: at(3600))
    assert allowed("3"), "another hour of the clock has begun"


@pytest.mark.parametrize(
    "request_once",
    [
        lambda throttle: throttle.allow_once("acme", "call", NUMBER, HOUR, by="1"),
        lambda throttle: throttle.allow("acme", "text", NUMBER, TWICE, by="1"),
    ],
)
def test_the_row_contains_no_number_and_expires_with_the_throttle(throttle, client, request_once):
    assert request_once(throttle)
    (row,) = client.scan(TableName="callbacks")["Items"]
    assert NUMBER[1:] not in json.dumps(row)
    assert row["ttl"] == {"N": str(int(at(3600).timestamp()))}
