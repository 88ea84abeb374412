"""The text of each field of a policy, and the texts that are no field's."""

from dataclasses import fields, replace

import pytest

from callback.tenancy.policy import Policy
from callback.tenancy.policy_text import (
    InvalidValue,
    UnknownField,
    format_policy,
    parse_field,
    parse_policy,
)

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
    "waiting_callbacks": "7",
    "when_full": "wait",
    "daily_spend": "12.345 EUR",
    "calling_window": "09:30-24:00 mon,tue,sat",
    "pbx_zone": "Europe/Berlin",
    "require_idempotency_key": "true",
}

INVALID = [
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
    ("waiting_callbacks", "-1"),
    ("when_full", "queue"),
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
]


def test_every_field_has_a_text_in_this_file():
    assert set(TEXTS) == {field.name for field in fields(Policy)}


@pytest.mark.parametrize("field", TEXTS)
def test_a_field_is_written_as_it_was_read(field):
    default = format_policy(Policy())
    assert TEXTS[field] != default[field]
    policy = replace(Policy(), **{field: parse_field(field, TEXTS[field])})
    assert format_policy(policy) == default | {field: TEXTS[field]}
    assert parse_policy({field: TEXTS[field]}) == policy


@pytest.mark.parametrize("field", TEXTS)
def test_the_text_of_a_default_and_no_text_are_the_default(field):
    default = getattr(Policy(), field)
    assert parse_field(field, format_policy(Policy())[field]) == default
    assert parse_field(field, "") == default


def test_other_attributes_of_a_row_are_no_fields():
    assert parse_policy({"pk": "TENANT-SETTINGS#acme", "created_at": "now"}) == Policy()


@pytest.mark.parametrize(("field", "text"), INVALID)
def test_an_invalid_value_is_refused_with_its_field(field, text):
    with pytest.raises(InvalidValue, match=f"^{field}: "):
        parse_field(field, text)


def test_an_unknown_field_is_refused_by_its_name():
    with pytest.raises(UnknownField, match="no field colour"):
        parse_field("colour", "red")
