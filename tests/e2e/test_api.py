"""What the API answers: records, lists, and refusals that name every wrong field."""

import pytest

from tests.support.client import SEED, between, has_ended


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"leg_A": {"to": "1000123"}}, ["leg_B"]),
        ({**SEED, "colour": "red"}, ["colour"]),
        ({**SEED, "leg_A": {"to": "1000123\n"}}, ["leg_A.to"]),
        ({**SEED, "leg_A": {"to": "１０００１２３"}}, ["leg_A.to"]),
        ({**SEED, "leg_B": {"to": "911"}}, ["leg_B.to"]),
        ({**SEED, "leg_B": {"to": "1000125", "from": "911"}}, ["leg_B.from"]),
        ({**SEED, "leg_B": {"to": "1000123"}}, [""]),
        ({**SEED, "max_duration_seconds": 59}, ["max_duration_seconds"]),
        (
            {"leg_A": {"to": "x", "ring_timeout_seconds": 1}, "leg_B": {}, "order": "no"},
            ["leg_A.to", "leg_A.ring_timeout_seconds", "leg_B.to", "order"],
        ),
    ],
    ids=[
        "missing leg",
        "unknown field",
        "trailing newline",
        "full-width digits",
        "emergency number",
        "emergency number shown",
        "both legs the same",
        "out of range",
        "all at once",
    ],
)
def test_an_invalid_request_lists_every_wrong_field_and_stores_nothing(client, stack, body, fields):
    calls, stored = len(stack.calls()), stack.rows()
    answer = client.post(body)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "invalid_request"
    assert sorted(error["field"] for error in answer.json()["errors"]) == sorted(fields)
    assert len(stack.calls()) == calls
    assert stack.rows() <= stored


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"leg_A=1000123", 400, "body_not_json"),
        (b"", 400, "body_not_json"),
        (b"[" * 10_000, 400, "body_not_json"),
        (b"[]", 400, "body_not_json"),
        (b'{"leg_A": "' + b"1" * 16_384 + b'"}', 413, "body_too_large"),
    ],
    ids=["a form", "nothing", "a deep nest", "a list", "over 16 KB"],
)
def test_a_malformed_request_is_refused(client, stack, body, status, code):
    stored = stack.rows()
    answer = client.post_raw(body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert stack.rows() <= stored


@pytest.mark.parametrize(
    "callback_id", ["no-such", "00000000-0000-4000-8000-000000000000", "%2e%2e"]
)
@pytest.mark.parametrize("method", ["get", "delete"])
def test_an_unknown_callback_is_a_404(client, method, callback_id):
    answer = getattr(client, method)(callback_id)
    assert (answer.status_code, answer.json()["code"]) == (404, "callback_not_found")


def test_a_list_filters_by_status_outcome_number_and_time_and_pages_with_a_cursor(client):
    number = "+14155550102"
    records = [client.ended(between(number, "1000125")) for _ in range(3)]
    client.ended(between("1000202", "1000125"))
    ids = [record["callback_id"] for record in reversed(records)]

    assert client.list(number=number).json()["callbacks"] == list(reversed(records))
    busy = {"number": number, "status": "ended", "outcome": "first_leg_busy"}
    first = client.list(**busy, limit=2).json()
    assert [c["callback_id"] for c in first["callbacks"]] == ids[:2]
    rest = client.list(**busy, limit=2, cursor=first["next_cursor"]).json()
    assert [c["callback_id"] for c in rest["callbacks"]] == ids[2:]
    assert rest["next_cursor"] is None

    later = client.list(number=number, created_after=records[1]["created_at"]).json()
    assert [c["callback_id"] for c in later["callbacks"]] == ids[:2]
    before = client.list(number=number, created_before=records[0]["created_at"]).json()
    assert before["callbacks"] == []
    assert client.list(number=number, outcome="completed").json()["callbacks"] == []


def test_a_callback_is_in_the_list_as_soon_as_it_is_accepted(client):
    callback_id = client.accepted(SEED)
    assert client.list(limit=1).json()["callbacks"][0]["callback_id"] == callback_id
    client.record_when(callback_id, has_ended)


def test_a_wrong_list_parameter_is_named(client):
    answer = client.list(limit="many", colour="red", outcome="foo")
    assert answer.status_code == 400
    assert sorted(e["field"] for e in answer.json()["errors"]) == ["colour", "limit", "outcome"]
