"""A tenant's stored policy: its fields, the defaults, the kill switches, and the cache's age."""

from datetime import timedelta

import pytest

from callback import clock
from callback.storage.table import Table
from callback.tenancy.policy import Policy
from callback.tenancy.policy_store import PolicyStore
from callback.tenancy.policy_text import InvalidValue, UnknownField, format_policy
from callback.tenancy.tenants import NoSuchTenant, TenantStore
from tests.support.build import NOON
from tests.unit.tenancy.test_policy_text import INVALID, TEXTS


class Clock:
    def __init__(self) -> None:
        self.now = NOON


@pytest.fixture
def time(monkeypatch):
    fixed = Clock()
    monkeypatch.setattr(clock, "now", lambda: fixed.now)
    return fixed


@pytest.fixture
def store(client, time):  # noqa: ARG001  (noon)
    TenantStore(Table(client, "callbacks")).add_tenant("acme")
    return PolicyStore(Table(client, "callbacks"))


def test_a_field_reads_as_it_was_set_and_can_be_reset(store):
    default = format_policy(Policy())
    for field, text in TEXTS.items():
        store.set("acme", field, text)
        assert format_policy(store.get("acme")) == default | {field: text}
        store.set("acme", field, "")
        assert store.get("acme") == Policy()


def test_the_text_of_a_default_can_be_set(store):
    for field, text in format_policy(Policy()).items():
        store.set("acme", field, text)
        assert store.get("acme") == Policy()


def test_an_invalid_value_is_refused_and_changes_nothing(store):
    for field, text in INVALID:
        with pytest.raises(InvalidValue, match=f"^{field}: "):
            store.set("acme", field, text)
        assert store.get("acme") == Policy()


def test_an_unknown_field_or_tenant_is_refused_by_its_name(store):
    with pytest.raises(UnknownField, match="no field colour"):
        store.set("acme", "colour", "red")
    with pytest.raises(NoSuchTenant, match="nobody"):
        store.set("nobody", "enabled", "false")
    with pytest.raises(NoSuchTenant, match="nobody"):
        store.get("nobody")


def test_an_unknown_tenant_has_the_defaults(store):
    assert store.standing("nobody").policy == Policy()


@pytest.mark.parametrize("tenant", ["acme", None], ids=["the tenant's", "all tenants'"])
def test_a_kill_switch_takes_effect_within_ten_seconds_despite_the_cache(
    store, client, time, tenant
):
    reader = PolicyStore(Table(client, "callbacks"))
    assert reader.standing("acme").may_call
    store.switch(on=True, tenant=tenant)
    time.now += timedelta(seconds=10)
    assert not reader.standing("acme").may_call
    store.switch(on=False, tenant=tenant)
    time.now += timedelta(seconds=10)
    assert reader.standing("acme").may_call


def test_a_policy_is_cached_for_seconds_but_not_if_the_clock_goes_back(client, time):
    reader = PolicyStore(Table(client, "callbacks"))
    reads = []
    reader._table._client = type("Client", (), {})()
    reader._table._client.batch_get_item = lambda **request: (
        reads.append(1),
        client.batch_get_item(**request),
    )[1]
    for seconds in (0, 1, 3):
        time.now = NOON + timedelta(seconds=seconds)
        assert reader.standing("acme").may_call
    assert len(reads) == 1
    time.now = NOON - timedelta(seconds=1)
    reader.standing("acme")
    assert len(reads) == 2


def test_a_tenants_kill_switch_stops_no_other_tenant(store, client):
    TenantStore(Table(client, "callbacks")).add_tenant("other")
    store.switch(on=True, tenant="acme")
    reader = PolicyStore(Table(client, "callbacks"))
    assert (reader.standing("acme").may_call, reader.standing("other").may_call) == (False, True)
