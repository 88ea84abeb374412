"""A tenant's policy: the text of each field, the defaults, and the age of the cache."""

from dataclasses import fields
from datetime import timedelta

import pytest

from callback import clock
from callback.storage.table import Table
from callback.tenancy import policy
from callback.tenancy.policy import InvalidValue, Policy, PolicyStore, UnknownField
from callback.tenancy.tenants import NoSuchTenant, TenantStore
from tests.support.build import NOON

TEXTS = {
    "enabled": "false",
    "allowed_regions": "CA,GB,US",
    "allowed_types": "fixed_line,mobile,toll_free,voip",
    "longest_extension": "4",
    "allowed_sip_hosts": "a.example,b.example",
    "fallback_caller_id": "+14155550100",
    "any_caller_id_extension": "true",
    "calls_per_number": "2/10m,5/1d",
    "calls_per_prefix": "unlimited",
    "calls_per_tenant": "90/45s",
    "concurrent_callbacks": "3",
    "daily_spend": "12.345 EUR",
    "calling_window": "09:30-24:00 mon,tue,sat",
    "pbx_zone": "Europe/Berlin",
    "require_idempotency_key": "true",
}


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


def test_every_field_has_a_text_in_this_file():
    assert set(TEXTS) == {field.name for field in fields(Policy)}


@pytest.mark.parametrize("field", TEXTS)
def test_a_field_reads_as_it_was_set_and_can_be_reset(store, field):
    default = policy.format_policy(Policy())
    store.set("acme", field, TEXTS[field])
    assert policy.format_policy(store.get("acme")) == default | {field: TEXTS[field]}
    assert TEXTS[field] != default[field]
    store.set("acme", field, "")
    assert store.get("acme") == Policy()


@pytest.mark.parametrize("field", TEXTS)
def test_the_text_of_a_default_can_be_set(store, field):
    text = policy.format_policy(Policy())[field]
    store.set("acme", field, text)
    assert store.get("acme") == Policy()


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("enabled", "yes"),
        ("allowed_regions", "us"),
        ("allowed_regions", "US, GB"),
        ("allowed_regions", "001"),
        ("allowed_types", "premium_rate"),
        ("allowed_types", "mobile,shared_cost"),
        ("allowed_types", "landline"),
        ("longest_extension", "1"),
        ("longest_extension", "16"),
        ("longest_extension", "seven"),
        ("longest_extension", "٧"),
        ("allowed_sip_hosts", "sip:a@b"),
        ("allowed_sip_hosts", "*"),
        ("fallback_caller_id", "1000123"),
        ("fallback_caller_id", "+1415 555 0100"),
        ("calls_per_number", "0/1m"),
        ("calls_per_number", "3 per minute"),
        ("calls_per_number", "3/1m,4/60s"),
        ("calls_per_number", "٣/1m"),
        ("calls_per_number", ",".join(f"9/{n}m" for n in range(1, 12))),
        ("concurrent_callbacks", "-1"),
        ("concurrent_callbacks", "1.5"),
        ("daily_spend", "12.3456789 USD"),
        ("daily_spend", "-1 USD"),
        ("daily_spend", "12"),
        ("daily_spend", "1e3 USD"),
        ("calling_window", "21:00-08:00 mon-sun"),
        ("calling_window", "08:00-08:00 mon"),
        ("calling_window", "08:00-25:00 mon"),
        ("calling_window", "08:00-21:00"),
        ("calling_window", "08:00-21:00 fri-mon"),
        ("pbx_zone", "Mars/Olympus"),
        ("pbx_zone", "../etc/passwd"),
        ("pbx_zone", "Europe"),
    ],
)
def test_an_invalid_value_is_refused_and_changes_nothing(store, field, text):
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
