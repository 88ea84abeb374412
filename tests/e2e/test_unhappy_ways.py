"""Each unhappy way has its own outcome, and the other party is released."""

from datetime import datetime

import pytest

from tests.support.client import SEED, between, has_ended, leg_is


@pytest.mark.parametrize(
    ("to", "leg_outcome", "cause"),
    [
        ("1000202", "busy", "sip_486"),
        ("1000203", "no_answer", "sip_487"),
        ("1000204", "failed", "sip_404"),
        ("1000205", "failed", "sip_503"),
    ],
)
def test_a_first_party_who_is_not_reached_means_b_is_never_dialed(client, to, leg_outcome, cause):
    record = client.ended(between(to, "1000125"))
    assert (record["outcome"], record["cause"]) == (f"first_leg_{leg_outcome}", cause)
    assert record["leg_A"]["outcome"] == leg_outcome
    assert (record["leg_B"]["outcome"], record["leg_B"]["cause"]) == ("canceled", "not_dialed")
    assert record["leg_B"]["attempts"] == 0
    assert record["bridged_seconds"] == 0


@pytest.mark.parametrize(
    ("to", "leg_outcome", "sentence"),
    [
        ("1000202", "busy", "is busy"),
        ("1000203", "no_answer", "did not answer"),
        ("1000204", "failed", "could not be reached"),
        ("1000206", "rejected", "could not be reached"),
    ],
)
def test_a_second_party_who_is_not_reached_is_told_to_the_first(
    client, stack, to, leg_outcome, sentence
):
    record = client.ended(between("1000201", to))
    assert record["outcome"] == f"second_leg_{leg_outcome}"
    assert record["leg_A"]["outcome"] == "completed"
    assert sentence in stack.heard(record["leg_A"]["call_sid"])
    waited = datetime.fromisoformat(record["leg_A"]["ended_at"]) - datetime.fromisoformat(
        record["leg_B"]["ended_at"]
    )
    assert waited.total_seconds() <= 20, "told, then hung up"


@pytest.mark.parametrize("order", ["sequential", "simultaneous"])
def test_a_refusal_at_once_is_told_in_the_answer_with_the_carriers_code(client, order):
    answer = client.post(between("1000207", "1000125", order=order))
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["carrier_code"]) == ("carrier_rejected", 21215)
    assert problem["leg"] == "A"
    record = client.record_when(problem["callback_id"], has_ended)
    assert record["outcome"] == "first_leg_rejected"
    assert record["leg_A"]["carrier_code"] == 21215
    assert answer.headers["Location"].endswith(problem["callback_id"])


def test_with_both_ringing_a_refusal_of_b_stops_a(client):
    answer = client.post(between("1000203", "1000207", order="simultaneous"))
    assert answer.status_code == 422
    record = client.record_when(answer.json()["callback_id"], has_ended)
    assert record["outcome"] == "second_leg_rejected"
    assert record["leg_A"]["outcome"] == "canceled"


def test_a_first_party_who_hangs_up_stops_the_seconds_ringing(client):
    record = client.ended(between("1000209", "1000203"))
    assert record["outcome"] == "first_leg_abandoned"
    assert record["leg_B"]["outcome"] == "canceled"
    stopped = datetime.fromisoformat(record["leg_B"]["ended_at"]) - datetime.fromisoformat(
        record["leg_A"]["ended_at"]
    )
    assert stopped.total_seconds() < 20, "at this speed, where a second is 1/20 of one"


def test_a_first_party_who_hangs_up_before_b_is_dialed_abandoned_it(client):
    record = client.ended(between("1000208", "1000125"))
    assert record["outcome"] == "first_leg_abandoned"


@pytest.mark.parametrize(
    ("to", "outcome"),
    [
        ("1000223", "completed"),
        ("1000225", "completed"),
        ("1000222", "first_leg_dial_outcome_unknown"),
        ("1000226", "first_leg_dial_outcome_unknown"),
    ],
    ids=["500 after creating", "reset after creating", "500 before", "reset before"],
)
def test_a_lost_answer_of_the_carrier_never_dials_twice(client, to, outcome):
    body = between(to, "1000218")
    body["leg_A"]["ring_timeout_seconds"] = 5
    record = client.ended(body)
    assert record["outcome"] == outcome
    assert record["leg_A"]["attempts"] == 1


def test_a_canceled_callback_never_dials_what_was_planned(client):
    callback_id = client.accepted(between("1000203", "1000125"))
    assert client.delete(callback_id).status_code == 202
    record = client.record_when(callback_id, has_ended)
    assert (record["outcome"], record["cause"]) == ("canceled", "client_request")
    assert record["leg_A"]["outcome"] == "canceled"
    assert record["leg_B"]["attempts"] == 0


def test_a_canceled_callback_stops_ringing(client):
    callback_id = client.accepted(between("1000201", "1000203"))
    client.record_when(callback_id, leg_is("B", "ringing"))
    client.delete(callback_id)
    record = client.record_when(callback_id, has_ended)
    assert record["outcome"] == "canceled"
    assert record["leg_B"]["outcome"] == "canceled"


def test_a_canceled_conversation_is_hung_up(client):
    callback_id = client.accepted(between("1000211", "1000219"))
    client.record_when(callback_id, lambda record: record["status"] == "connected")
    answer = client.delete(callback_id)
    assert answer.status_code == 202
    record = client.record_when(callback_id, has_ended)
    assert record["outcome"] == "canceled"
    assert record["bridged_seconds"] is not None
    assert [record[leg]["outcome"] for leg in ("leg_A", "leg_B")] == ["completed", "completed"]


def test_canceling_twice_is_fine(client):
    callback_id = client.accepted(between("1000203", "1000125"))
    assert client.delete(callback_id).status_code == 202
    client.record_when(callback_id, has_ended)
    again = client.delete(callback_id)
    assert (again.status_code, again.json()["outcome"]) == (202, "canceled")


def test_a_callback_that_ended_otherwise_cannot_be_canceled(client):
    record = client.ended(between("1000202", "1000125"))
    answer = client.delete(record["callback_id"])
    assert (answer.status_code, answer.json()["code"]) == (409, "callback_ended")
    assert client.get(record["callback_id"]).json() == record


def test_a_carrier_that_turns_requests_away_is_asked_again_by_the_workflow(client, stack):
    """429 is never processed, so it is no refusal and the client does not hear of it."""
    with stack.fault("429", times=2):
        record = client.ended(SEED)
    assert record["outcome"] == "completed"
    assert record["leg_A"]["attempts"] == 3
