"""Two parties, one conversation: the real workflow, handlers, SDK and signed webhooks."""

from datetime import datetime

import pytest

from tests.support.client import CALLER_ID, SEED, between, has_ended


def test_two_parties_talk_and_the_record_says_so(client):
    answer = client.post(SEED)
    assert answer.status_code == 202
    accepted = answer.json()
    assert answer.headers["Location"] == f"/voice/call/callback/{accepted['callback_id']}"
    assert accepted["status"] == "calling_first"
    assert (accepted["leg_A"]["to"], accepted["leg_A"]["from"]) == ("1000123", "1000125")
    assert (accepted["leg_B"]["to"], accepted["leg_B"]["from"]) == ("1000125", "1000123")
    assert accepted["leg_B"]["status"] == "planned"

    record = client.record_when(accepted["callback_id"], has_ended)
    assert (record["outcome"], record["cause"]) == ("completed", "hung_up")
    for leg in (record["leg_A"], record["leg_B"]):
        assert (leg["status"], leg["outcome"], leg["attempts"]) == ("ended", "completed", 1)
        times = [leg[f"{what}_at"] for what in ("ringing", "answered", "joined", "ended")]
        assert times == sorted(times)
        assert leg["seconds"] >= 20
    assert 19 <= record["bridged_seconds"] <= 22, "B hangs up 20 s after it was joined"


def test_b_is_dialed_only_after_a_has_joined(client):
    record = client.ended(SEED)
    assert record["leg_B"]["dialed_at"] >= record["leg_A"]["joined_at"]


def test_in_reverse_order_b_is_called_first(client):
    record = client.ended({**SEED, "order": "reverse"})
    assert record["outcome"] == "completed"
    assert record["leg_A"]["dialed_at"] >= record["leg_B"]["joined_at"]


def test_simultaneous_rings_both_at_once(client):
    answer = client.post({**SEED, "order": "simultaneous"}).json()
    assert answer["status"] == "calling_both"
    record = client.record_when(answer["callback_id"], has_ended)
    assert record["outcome"] == "completed"
    dialed = [datetime.fromisoformat(record[leg]["dialed_at"]) for leg in ("leg_A", "leg_B")]
    answered = datetime.fromisoformat(record["leg_A"]["answered_at"])
    assert all(at < answered for at in dialed)


def test_the_one_who_waits_hears_ringback_and_both_hear_each_other(client, stack):
    callback_id = client.accepted(SEED)
    record = client.record_when(callback_id, has_ended)
    assert "ringback.wav" in stack.heard(record["leg_A"]["call_sid"])
    assert "1000125" in stack.heard(record["leg_A"]["call_sid"])
    assert "1000123" in stack.heard(record["leg_B"]["call_sid"])


@pytest.mark.parametrize("to", ["+14155550101", "sip:1000201@pbx.example", "1000201"])
def test_any_kind_of_address_is_rung(client, to):
    record = client.ended(between(to, "1000218"))
    assert record["outcome"] == "completed"
    assert record["leg_A"]["to"] == to
    # Nobody's number is shown to another but the tenant's own.
    assert record["leg_B"]["from"] == (CALLER_ID if to.startswith("+") else to)


def test_metadata_is_echoed(client):
    metadata = {"ticket": "42", "agent": "Zoë"}
    accepted = client.post({**SEED, "metadata": metadata}).json()
    assert accepted["metadata"] == metadata
    assert client.get(accepted["callback_id"]).json()["metadata"] == metadata


def test_a_conversation_ends_at_its_limit(client):
    record = client.ended(between("1000211", "+14155550111", max_duration_seconds=60))
    assert (record["outcome"], record["cause"]) == ("completed", "max_duration_reached")
    assert 58 <= record["bridged_seconds"] <= 61


def test_when_a_hangs_up_b_is_released(client):
    """A hangs up first here: 1000218 leaves 5 s after being joined; 1000219 would stay."""
    record = client.ended(between("1000218", "1000219"))
    assert record["outcome"] == "completed"
    gap = datetime.fromisoformat(record["leg_B"]["ended_at"]) - datetime.fromisoformat(
        record["leg_A"]["ended_at"]
    )
    assert abs(gap.total_seconds()) <= 2


def test_a_slow_answer_is_waited_for_within_the_ring_timeout(client):
    body = between("1000210", "1000218")
    body["leg_A"]["ring_timeout_seconds"] = 70
    assert client.ended(body)["outcome"] == "completed"


def test_nothing_but_ids_and_bounds_enters_the_workflow(client, stack):
    callback_id = client.accepted(SEED)
    client.record_when(callback_id, has_ended)
    assert callback_id in stack.execution_text(callback_id)
    assert "1000123" not in stack.execution_text(callback_id)
    assert "1000125" not in stack.execution_text(callback_id)
    assert "1000123" not in stack.logged()


def test_a_conversation_costs_two_states(client, stack):
    record = client.ended(SEED)
    assert stack.billed_transitions(record["callback_id"]) == 2
