"""A number belongs to one tenant at most, and says what its texts and calls ask for."""

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


def test_a_number_is_found_as_it_was_put(numbers):
    assert numbers.get(LINE.number) is None
    for number in (SHOWN, LINE):
        numbers.put(number)
        assert numbers.get(number.number) == number
    assert numbers.of("acme") == [LINE, SHOWN]
    assert numbers.of("other") == []


def test_what_a_number_takes_is_said_anew(numbers):
    numbers.put(LINE)
    numbers.put(replace(LINE, owned=False, sms_to=None))
    assert numbers.of("acme") == [replace(LINE, owned=False, sms_to=None)]


def test_another_tenants_number_is_not_to_be_had(numbers):
    numbers.put(LINE)
    with pytest.raises(NumberTaken):
        numbers.put(replace(LINE, tenant="other"))
    with pytest.raises(NoSuchNumber):
        numbers.remove("other", LINE.number)
    assert numbers.get(LINE.number) == LINE
    assert numbers.of("other") == []


def test_a_number_that_was_removed_may_be_anothers(numbers):
    numbers.put(LINE)
    numbers.remove("acme", LINE.number)
    assert numbers.get(LINE.number) is None
    assert numbers.of("acme") == []
    with pytest.raises(NoSuchNumber):
        numbers.remove("acme", LINE.number)
    numbers.put(replace(LINE, tenant="other"))
    assert numbers.of("other") == [replace(LINE, tenant="other")]


def test_a_tenant_that_is_not_there_has_no_numbers(numbers):
    with pytest.raises(NoSuchTenant):
        numbers.put(replace(LINE, tenant="nobody"))
    with pytest.raises(NoSuchTenant):
        numbers.of("nobody")
    assert numbers.get(LINE.number) is None
