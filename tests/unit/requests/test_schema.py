"""Which requests are accepted, and how an error names the wrong field."""

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from callback.errors import BodyNotJson, BodyNotUtf8, BodyTooLarge, InvalidRequest
from callback.lifecycle import outcomes
from callback.lifecycle.models import CloseReason, LegOutcome, LegStatus, Order
from callback.requests import schema
from tests.support.build import at, callback

SEED = {
    "leg_A": {"to": "1000123", "from": "1000125"},
    "leg_B": {"to": "1000125", "from": "1000123"},
}
TOO_DEEP = "The body is nested too deeply or has a number that is too long."
NUMBERS = {"leg_A": {"to": "+14155550123"}, "leg_B": {"to": "+442079460000"}}


def parsed(body, sip_domain="pbx.example.com"):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return schema.parse_callback(raw, home_region="US", sip_domain=sip_domain)


def errors_of(body, sip_domain="pbx.example.com"):
    with pytest.raises(InvalidRequest) as refused:
        parsed(body, sip_domain)
    return {error["field"]: error["code"] for error in refused.value.members["errors"]}


def test_the_smallest_request_is_two_addresses():
    request = parsed(NUMBERS)
    assert (request.leg_a.to, request.leg_b.to) == ("+14155550123", "+442079460000")
    assert request.order is Order.SEQUENTIAL
    assert request.leg_a.caller_id is None


def test_every_field_is_accepted():
    request = parsed(
        {
            "leg_A": {"to": "sip:alice@pbx.example.com:5060", "ring_timeout_seconds": 5},
            "leg_B": {"to": "+14155550123", "from": "+14155550199", "ring_timeout_seconds": 600},
            "order": "simultaneous",
            "max_duration_seconds": 60,
            "metadata": {"ticket": "42"},
        }
    )
    assert request.order is Order.SIMULTANEOUS
    assert request.metadata == {"ticket": "42"}


@pytest.mark.parametrize(
    "to",
    [
        "+14155550123\n",
        " +14155550123",
        "+1415555０１２３",
        "１０００１２３",
        "1000123\n",
        "+0123456789",
        "+1234567890123456",
        "14155550123abc",
        "tel:+14155550123",
        "client:alice",
        "sip:alice",
        "sip:alice@pbx.example.com\n",
        "sip:alice@pbx.example.com?X-Header=1",
        "sip:a b@pbx.example.com",
        "sip:alice@-..",
        "sip:alice@pbx..example.com",
        "sip:alice@pbx.example.com.",
        "sip:alice@-pbx.example.com",
        "sip:alice@pbx-.example.com",
        f"sip:alice@{'x' * 64}.example.com",
        f"sip:alice@{'x.' * 126}xx",
        "sip:alice@pbx.example.com:",
        "sip:alice@pbx.example.com:0",
        "sip:alice@pbx.example.com:05060",
        "sip:alice@pbx.example.com:65536",
        "sip:alice@pbx.example.com:99999",
        "1",
        "",
    ],
)
def test_an_address_that_cannot_be_called_is_refused(to):
    assert errors_of({**NUMBERS, "leg_A": {"to": to}}) == {"leg_A.to": "invalid_address"}


@pytest.mark.parametrize(
    "host",
    ["pbx", "10.0.0.1", "a-b.xn--example", f"{'x' * 63}.{'x.' * 94}x", "pbx:1", "pbx:65535"],
)
def test_a_sip_host_is_a_domain_name_or_an_ip_address_with_or_without_a_port(host):
    assert parsed({**NUMBERS, "leg_A": {"to": f"sip:alice@{host}"}}).leg_a.to


@pytest.mark.parametrize(
    "to", ["911", "112", "999", "933", "000", "+1911", "+44999", "sip:911@pbx.example.com"]
)
def test_emergency_numbers_are_never_called_back(to):
    assert errors_of({**NUMBERS, "leg_B": {"to": to}}) == {"leg_B.to": "emergency_number"}


@pytest.mark.parametrize("caller_id", ["911", "112", "+1911", "sip:911@pbx.example.com"])
def test_an_emergency_number_is_refused_as_a_caller_id(caller_id):
    leg = {"to": "+14155550123", "from": caller_id}
    assert errors_of({**NUMBERS, "leg_A": leg}) == {"leg_A.from": "emergency_number"}


def test_what_is_an_emergency_number_depends_on_where_one_is():
    body = json.dumps({**SEED, "leg_A": {"to": "110"}}).encode()
    assert schema.parse_callback(body, home_region="US", sip_domain="pbx").leg_a.to == "110"
    with pytest.raises(InvalidRequest):
        schema.parse_callback(body, home_region="DE", sip_domain="pbx")


def test_an_extension_needs_a_domain_to_ring_at():
    assert errors_of(SEED, sip_domain="") == {
        "leg_A.to": "extension_without_domain",
        "leg_B.to": "extension_without_domain",
    }


def test_a_caller_id_may_be_an_extension_without_a_domain():
    body = {"leg_A": {"to": "+14155550123", "from": "1000125"}, "leg_B": {"to": "+14155550124"}}
    assert parsed(body, sip_domain="").leg_a.caller_id == "1000125"


def test_the_error_of_one_party_in_both_legs_names_both_fields():
    with pytest.raises(InvalidRequest) as refused:
        parsed({"leg_A": {"to": "1000123"}, "leg_B": {"to": "sip:1000123@pbx.example.com"}})
    assert refused.value.members["errors"] == [
        {
            "field": "",
            "code": "same_party",
            "message": "leg_A.to and leg_B.to reach the same party. Give two different ones.",
        }
    ]


def test_a_callback_joins_two_parties():
    body = {"leg_A": {"to": "1000123"}, "leg_B": {"to": "1000123"}}
    assert errors_of(body) == {"": "same_party"}
    with pytest.raises(InvalidRequest) as refused:
        parsed(body)
    both = "leg_A.to and leg_B.to reach the same party. Give two different ones."
    assert refused.value.detail == refused.value.members["errors"][0]["message"] == both


def test_every_wrong_field_is_named():
    wrong = {
        "leg_A": {"to": "nobody", "from": 7, "ring_timeout_seconds": 4, "colour": "red"},
        "order": "sideways",
        "max_duration_seconds": 14401,
        "metadata": {"a": 1, "": "nameless"},
        "extra": True,
    }
    assert set(errors_of(wrong)) == {
        "leg_A.to",
        "leg_A.from",
        "leg_A.ring_timeout_seconds",
        "leg_A.colour",
        "leg_B",
        "order",
        "max_duration_seconds",
        "metadata.a",
        "metadata",
        "extra",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ring_timeout_seconds", 4),
        ("ring_timeout_seconds", 601),
        ("ring_timeout_seconds", 30.5),
        ("ring_timeout_seconds", float("inf")),
        ("ring_timeout_seconds", "30"),
        ("ring_timeout_seconds", True),
    ],
)
def test_a_ring_timeout_is_whole_seconds_within_bounds(field, value):
    assert set(errors_of({**NUMBERS, "leg_A": {"to": "+14155550123", field: value}})) == {
        f"leg_A.{field}"
    }


@pytest.mark.parametrize("seconds", [59, 14401, None, "60"])
def test_a_duration_is_whole_seconds_within_bounds(seconds):
    assert set(errors_of({**NUMBERS, "max_duration_seconds": seconds})) == {"max_duration_seconds"}


def test_metadata_is_strings_of_a_kilobyte_at_most_however_it_is_written():
    fits = {"k": "1", "é": "x" * (schema.MAX_METADATA_BYTES - len('{"k":"1","é":""}'.encode()))}
    assert len(json.dumps(fits, ensure_ascii=False, separators=(",", ":")).encode()) == 1024
    assert parsed({**NUMBERS, "metadata": fits}).metadata == fits
    assert errors_of({**NUMBERS, "metadata": {**fits, "k": "12"}}) == {
        "metadata": "metadata_too_large"
    }


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "The body is empty."),
        (b" \n", "The body is empty."),
        (b"{", "Invalid JSON at line 1, column 2."),
        (b"leg_A=1000123", "Invalid JSON at line 1, column 1."),
        ('{\n "é": 1,\n "ü": x}'.encode(), "Invalid JSON at line 3, column 7."),
        (b"\xef\xbb\xbf{}", "Invalid JSON at line 1, column 1."),
        (b"[]", "The body is JSON but not an object."),
        (b"7", "The body is JSON but not an object."),
        (b'"x"', "The body is JSON but not an object."),
        (b"null", "The body is JSON but not an object."),
        (b"[" * 9000, TOO_DEEP),
        (b'{"a":' * 2700 + b"1" + b"}" * 2700, TOO_DEEP),
        (b'{"leg_A": ' + b"1" * 5000 + b"}", TOO_DEEP),
        (rb'{"metadata": {"k": "\ud83d"}}', "The body contains half a surrogate pair."),
        (rb'{"\ude00": 1}', "The body contains half a surrogate pair."),
    ],
)
def test_a_body_that_is_not_a_json_object_is_refused_with_the_place_of_the_error(body, why):
    with pytest.raises(BodyNotJson) as refused:
        parsed(body)
    assert refused.value.detail == f"{why} Send a JSON object with leg_A and leg_B."


def test_a_replacement_character_must_be_escaped():
    sent = {**NUMBERS, "metadata": {"k": "\ufffd"}}
    assert parsed(json.dumps(sent).encode()).metadata == {"k": "\ufffd"}
    with pytest.raises(BodyNotUtf8, match=r"Character \d+ "):
        parsed(json.dumps(sent, ensure_ascii=False).encode())
    with pytest.raises(BodyNotUtf8, match=r"at byte 8\."):
        parsed(b'{"k": "\xe9"}')


def test_a_body_over_16_kilobytes_is_refused_unread():
    with pytest.raises(BodyTooLarge):
        parsed(b" " * (16 * 1024 + 1))


def test_a_whole_number_may_be_written_with_a_decimal_point():
    """JSON has one kind of number, and some clients write every one of them like this."""
    leg = {"to": "+14155550123", "ring_timeout_seconds": 45.0}
    request = parsed({**NUMBERS, "leg_A": leg, "max_duration_seconds": 90.0})
    assert (request.leg_a.ring_timeout_seconds, request.max_duration_seconds) == (45, 90)
    assert isinstance(request.leg_a.ring_timeout_seconds, int)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30T12:00:00Z",
        "2026-13-01T12:00:00Z",
        "2026-11-24T25:00:00Z",
        "2026-11-24T12:00:00+99:00",
        "2026-11-24 12:00",
        "2026-11-24T12:00:00 Z",
    ],
)
def test_a_time_that_does_not_exist_has_the_code_invalid_time(text):
    with pytest.raises(InvalidRequest) as refused:
        schema.parse_list({"created_before": text})
    assert [error["code"] for error in refused.value.members["errors"]] == ["invalid_time"]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24T12:00:00Z",
        "2026-11-24T13:00:00 01:00",
        "2026-11-24 13:00:00 01:00",
        "2026-11-24t13:00:00.000+01:00",
        "2026-11-24 12:00:00z",
    ],
)
def test_times_are_rfc_3339(text):
    assert schema.parse_list({"created_after": text}).created_after == datetime(
        2026, 11, 24, 12, tzinfo=UTC
    )


def test_the_outcomes_to_filter_by_are_the_outcomes_that_occur():
    plain = callback()
    occurring = set()
    for reason, a, b, connected in itertools.product(
        (None, *CloseReason), LegOutcome, LegOutcome, (None, at(1))
    ):
        over = replace(
            plain,
            close_reason=reason,
            connected_at=connected,
            leg_a=replace(plain.leg_a, status=LegStatus.ENDED, outcome=a, ended_at=at(2)),
            leg_b=replace(plain.leg_b, status=LegStatus.ENDED, outcome=b, ended_at=at(2)),
        )
        occurring.add(outcomes.decide_outcome(over)[0])
    assert occurring == set(schema.OUTCOMES)
    for outcome in occurring:
        assert schema.parse_list({"outcome": outcome}).outcome == outcome


@pytest.mark.parametrize("limit", [1, 9, 100])
def test_a_limit_is_digits(limit):
    assert schema.parse_list({"limit": str(limit)}).limit == limit


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "sleeping"),
        ("outcome", "DROP TABLE"),
        ("outcome", "foo"),
        ("outcome", "second_leg_completed"),
        ("outcome", ""),
        ("number", "nobody"),
        ("created_after", "yesterday"),
        ("created_before", "2026-11-24T12:00:00"),
        ("created_after", "0"),
        ("created_after", "1793534401.5"),
        ("created_after", "2026-11-24"),
        ("created_after", "0001-01-01T00:00:00+14:00"),
        ("created_before", "9999-12-31T23:59:59-14:00"),
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "+5"),
        ("limit", "1_0"),
        ("limit", " 5"),
        ("limit", "5.0"),
        ("limit", "05"),
        ("limit", "５"),
        ("limit", ""),
        ("colour", "red"),
    ],
)
def test_a_wrong_list_parameter_is_named(name, value):
    with pytest.raises(InvalidRequest) as refused:
        schema.parse_list({name: value})
    assert [error["field"] for error in refused.value.members["errors"]] == [name]
