"""A number belongs to one tenant at most, and stores the triggers that it accepts."""

from dataclasses import replace

import pytest

from callback.storage.table import Table
from callback.tenancy.numbers import NoSuchNumber, NumberStore, NumberTaken, TenantNumber
from callback.tenancy.tenants import NoSuchTenant, TenantStore

LINE = TenantNumber(
    "+14155550100",
    "acme",
    owned=True,
    sms_to="1000123",
    sms_to_anyone=True,
    missed_call_to="1000124",
)
SHOWN = TenantNumber("+14155550199", "acme", owned=False)


@pytest.fixture
def numbers(client):
    for tenant in ("acme", "other"):
        TenantStore(Table(client, "callbacks")).add_tenant(tenant)
    return NumberStore(Table(client, "callbacks"))


def test_a_number_is_read_as_it_was_written(numbers):
    assert numbers.get(LINE.number) is None
    for number in (SHOWN, LINE):
        numbers.put(number)
        assert numbers.get(number.number) == number
    assert numbers.list_numbers("acme") == [LINE, SHOWN]
    assert numbers.list_numbers("other") == []


def test_a_second_put_replaces_all_settings(numbers):
    numbers.put(LINE)
    numbers.put(replace(LINE, owned=False, sms_to=None))
    assert numbers.list_numbers("acme") == [replace(LINE, owned=False, sms_to=None)]


def test_a_number_of_another_tenant_can_be_neither_taken_nor_removed(numbers):
    numbers.put(LINE)
    with pytest.raises(NumberTaken):
        numbers.put(replace(LINE, tenant="other"))
    with pytest.raises(NoSuchNumber):
        numbers.remove("other", LINE.number)
    assert numbers.get(LINE.number) == LINE
    assert numbers.list_numbers("other") == []


def test_a_removed_number_is_free_for_another_tenant(numbers):
    numbers.put(LINE)
    numbers.remove("acme", LINE.number)
    assert numbers.get(LINE.number) is None
    assert numbers.list_numbers("acme") == []
    with pytest.raises(NoSuchNumber):
        numbers.remove("acme", LINE.number)
    numbers.put(replace(LINE, tenant="other"))
    assert numbers.list_numbers("other") == [replace(LINE, tenant="other")]


def test_an_unknown_tenant_has_no_numbers(numbers):
    with pytest.raises(NoSuchTenant):
        numbers.put(replace(LINE, tenant="nobody"))
    with pytest.raises(NoSuchTenant):
        numbers.list_numbers("nobody")
    assert numbers.get(LINE.number) is None
