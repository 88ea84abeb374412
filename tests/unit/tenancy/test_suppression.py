"""The suppression list finds every notation of a party, and reveals no number."""

import json

import pytest

from callback import clock
from callback.lifecycle.models import to_text
from callback.storage.table import Table
from callback.tenancy.suppression import SuppressionList
from tests.support.build import NOON, at

PEPPER = "0123456789abcdef0123456789abcdef"
NUMBER, OTHER = "+14155550123", "+14155550124"


class FixedPepper:
    def __init__(self, pepper):
        self.pepper = pepper

    def get(self):
        return self.pepper


@pytest.fixture
def suppressed(client):
    return SuppressionList(Table(client, "callbacks"), FixedPepper(PEPPER))


def test_an_address_is_on_the_list_until_it_is_removed(suppressed):
    assert not suppressed.contains("acme", NUMBER)
    for _ in range(2):
        suppressed.add("acme", NUMBER)
        assert suppressed.contains("acme", NUMBER)
    assert not suppressed.contains("acme", OTHER)
    for _ in range(2):
        suppressed.remove("acme", NUMBER)
        assert not suppressed.contains("acme", NUMBER)


def test_an_extension_that_reaches_a_number_is_listed_as_that_number(suppressed):
    for notation in ("14155550123", "0014155550123", "sip:+14155550123@pbx.example"):
        suppressed.add("acme", notation)
        assert suppressed.contains("acme", NUMBER)
        assert suppressed.contains("acme", notation)
        assert not suppressed.contains("acme", OTHER)
        suppressed.remove("acme", notation)
        assert not suppressed.contains("acme", NUMBER)
        assert not suppressed.contains("acme", notation)


def test_each_tenant_has_its_own_list(suppressed):
    suppressed.add("acme", NUMBER)
    suppressed.remove("other", NUMBER)
    assert suppressed.contains("acme", NUMBER)
    assert not suppressed.contains("other", NUMBER)


def test_the_list_is_unreadable_without_the_pepper(client, suppressed):
    suppressed.add("acme", NUMBER)
    rows = json.dumps(client.scan(TableName="callbacks")["Items"])
    assert NUMBER[1:] not in rows
    assert not SuppressionList(Table(client, "callbacks"), FixedPepper(PEPPER[::-1])).contains(
        "acme", NUMBER
    )


def test_the_first_opt_out_keeps_its_time(client, suppressed, monkeypatch):
    for seconds in (0, 60):
        monkeypatch.setattr(clock, "now", lambda seconds=seconds: at(seconds))
        suppressed.add("acme", NUMBER)
    (row,) = client.scan(TableName="callbacks")["Items"]
    assert row["suppressed_at"] == {"S": to_text(NOON)}
