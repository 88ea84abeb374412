"""Once in a while and no more often, for each address, by whoever comes first."""

import json
from datetime import timedelta

import pytest

from callback import clock
from callback.amounts import Rate
from callback.storage.table import Table
from callback.triggers.throttle import Once
from tests.support.build import NOON, at

NUMBER, HOUR = "+14155550123", timedelta(hours=1)
TWICE = Rate(2, seconds=3600)


class Known:
    def get(self):
        return "0123456789abcdef0123456789abcdef"


@pytest.fixture
def once(client, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOON)
    return Once(Table(client, "callbacks"), Known())


def test_the_second_to_ask_may_not_and_the_first_always_could(once):
    assert once.may("acme", "call", NUMBER, HOUR, by="1")
    assert not once.may("acme", "call", NUMBER, HOUR, by="2")
    assert once.may("acme", "call", NUMBER, HOUR, by="1")


def test_each_tenant_matter_and_address_is_on_its_own(once):
    assert once.may("acme", "call", NUMBER, HOUR, by="1")
    assert once.may("other", "call", NUMBER, HOUR, by="2")
    assert once.may("acme", "help", NUMBER, HOUR, by="2")
    assert once.may("acme", "call", "+14155550124", HOUR, by="2")


def test_when_the_time_is_over_the_next_may(once, monkeypatch):
    assert once.may("acme", "call", NUMBER, HOUR, by="1")
    monkeypatch.setattr(clock, "now", lambda: at(3599))
    assert not once.may("acme", "call", NUMBER, HOUR, by="2")
    monkeypatch.setattr(clock, "now", lambda: at(3600))
    assert once.may("acme", "call", NUMBER, HOUR, by="3")
    assert not once.may("acme", "call", NUMBER, HOUR, by="1"), "the first's hour is over too"


def test_of_a_few_each_may_and_may_again_and_the_next_may_not(once, monkeypatch):
    def asked(by: str) -> bool:
        return once.may_so_often("acme", "text", NUMBER, TWICE, by=by)

    assert {by: asked(by) for by in ("1", "2", "3")} == {"1": True, "2": True, "3": False}
    assert {by: asked(by) for by in ("1", "2", "4")} == {"1": True, "2": True, "4": False}
    assert once.may_so_often("other", "text", NUMBER, TWICE, by="3")
    monkeypatch.setattr(clock, "now", lambda: at(3599))
    assert not asked("3")
    monkeypatch.setattr(clock, "now", lambda: at(3600))
    assert asked("3"), "another hour of the clock has begun"


@pytest.mark.parametrize(
    "ask",
    [
        lambda once: once.may("acme", "call", NUMBER, HOUR, by="1"),
        lambda once: once.may_so_often("acme", "text", NUMBER, TWICE, by="1"),
    ],
)
def test_the_row_names_nobody_and_is_deleted_when_it_is_of_no_use(once, client, ask):
    assert ask(once)
    (row,) = client.scan(TableName="callbacks")["Items"]
    assert NUMBER[1:] not in json.dumps(row)
    assert row["ttl"] == {"N": str(int(at(3600).timestamp()))}
