"""A callback's outcome, from the outcomes of its legs."""

from dataclasses import replace

import pytest

from callback.lifecycle import outcomes, transitions
from callback.lifecycle.models import CloseReason, LegName, LegOutcome, LegStatus, Order
from callback.requests import views
from tests.support.build import (
    allowed,
    at,
    callback,
    connected,
    dialed,
    ended,
    event,
    joined,
    recorded,
)

A, B = LegName.A, LegName.B
FAILURES = [
    LegOutcome.BUSY,
    LegOutcome.NO_ANSWER,
    LegOutcome.FAILED,
    LegOutcome.REJECTED,
]


def hung_up(before, name, seconds):
    return recorded(before, name, ended(LegOutcome.COMPLETED, seconds, name))


def closed(before, reason=None):
    return allowed(transitions.close(before, reason, at(100)))


def test_every_outcome_of_a_leg_is_in_every_table():
    assert set(transitions._OUTCOME_PRECEDENCE) == set(LegOutcome)
    assert set(outcomes.FAILURES) == set(LegOutcome) - {LegOutcome.COMPLETED, LegOutcome.CANCELED}
    assert set(outcomes.SENTENCES) == set(outcomes.FAILURES)


@pytest.mark.parametrize("outcome", FAILURES)
def test_a_failed_first_leg_gives_the_callback_its_outcome(outcome):
    failed = recorded(dialed(callback(), A), A, ended(outcome, 9, A, cause="sip_486"))
    after = closed(failed)
    assert (after.outcome, after.cause) == (f"first_leg_{outcome}", "sip_486")


@pytest.mark.parametrize("outcome", FAILURES)
def test_a_failed_second_leg_gives_the_callback_its_outcome(outcome):
    failed = recorded(dialed(joined(callback(), A), B, 6), B, ended(outcome, 20, B))
    assert hung_up(failed, A, 25).outcome == f"second_leg_{outcome}"


def test_in_reverse_order_leg_b_is_the_first_leg():
    failed = recorded(dialed(callback(Order.REVERSE), B), B, ended(LegOutcome.BUSY, 9, B))
    assert closed(failed).outcome == "first_leg_busy"


def test_a_first_party_who_hangs_up_while_the_second_rings_abandons_the_callback():
    gone = hung_up(dialed(joined(callback(), A), B, 6), A, 8)
    after = recorded(gone, B, ended(LegOutcome.CANCELED, 9, B))
    assert (after.outcome, after.cause) == ("first_leg_abandoned", "hung_up_while_other_rang")
    assert outcomes.bridged_seconds(after) == 0


def test_either_party_may_abandon_a_simultaneous_callback():
    both = joined(dialed(dialed(callback(Order.SIMULTANEOUS), A), B), B)
    after = recorded(hung_up(both, B, 9), A, ended(LegOutcome.CANCELED, 10, A))
    assert after.outcome == "second_leg_abandoned"


def test_parties_who_were_never_in_the_room_together_were_not_connected():
    """B answers in the second in which A hangs up. Both were in the room, but never together."""
    gone = hung_up(dialed(joined(callback(), A), B, 6), A, 8)
    late = recorded(gone, B, event(LegStatus.JOINED, 8, B), ended(LegOutcome.COMPLETED, 10, B))
    assert late.outcome == "first_leg_abandoned"


@pytest.mark.parametrize("order", Order)
def test_a_conversation_completes_the_callback(order):
    after = hung_up(hung_up(connected(order), A, 50), B, 51)
    assert (after.outcome, after.cause) == ("completed", "hung_up")
    assert outcomes.bridged_seconds(after) == 30


def test_a_conversation_completes_the_callback_even_if_the_report_of_its_start_was_lost():
    lost = hung_up(hung_up(replace(connected(), connected_at=None), A, 50), B, 50)
    assert lost.outcome == "completed"
    assert outcomes.bridged_seconds(lost) == 30


@pytest.mark.parametrize(
    ("order", "seconds"),
    [(Order.SEQUENTIAL, 600), (Order.REVERSE, 635), (Order.SIMULTANEOUS, 635)],
)
def test_a_conversation_cut_off_at_its_limit_has_that_cause(order, seconds):
    """The leg dialed last may talk for 600 s. A leg dialed earlier may also wait for 35 s."""
    for lasted, cause in ((seconds, "max_duration_reached"), (seconds - 1, "hung_up")):
        cut = recorded(connected(order), B, ended(LegOutcome.COMPLETED, 620, B, seconds=lasted))
        assert hung_up(cut, A, 620).cause == cause


def test_a_callback_canceled_during_the_conversation_is_canceled():
    canceled = allowed(transitions.cancel(connected(), at(1)))
    after = hung_up(hung_up(canceled, A, 50), B, 50)
    assert (after.outcome, after.cause) == ("canceled", "client_request")
    assert outcomes.bridged_seconds(after) == 30


def test_a_callback_that_timed_out_has_that_outcome_unless_a_leg_failed():
    silent = closed(dialed(callback(), A), CloseReason.TIMED_OUT)
    assert recorded(silent, A, ended(LegOutcome.CANCELED, 70, A)).outcome == "timed_out"
    assert recorded(silent, A, ended(LegOutcome.NO_ANSWER, 70, A)).outcome == "first_leg_no_answer"


def test_a_carrier_that_accepted_no_request_is_the_cause():
    claimed = allowed(transitions.claim(callback(), A, at(0)))
    turned_away = closed(allowed(transitions.release(claimed, A, 1)), CloseReason.FAILED)
    assert (turned_away.outcome, turned_away.cause) == ("failed", "carrier_unavailable")
    unforeseen = closed(callback(), CloseReason.FAILED)
    assert (unforeseen.outcome, unforeseen.cause) == ("failed", "workflow_gave_up")


@pytest.mark.parametrize("outcome", [*FAILURES, LegOutcome.DIAL_OUTCOME_UNKNOWN])
def test_a_waiting_party_hears_the_reason(outcome):
    failed = recorded(dialed(joined(callback(), A), B, 6), B, ended(outcome, 20, B))
    assert outcomes.parting_sentence(failed, failed.leg_a, failed.leg_b)


@pytest.mark.parametrize(
    ("before", "name"),
    [
        (hung_up(connected(), B, 50), A),
        (allowed(transitions.cancel(joined(callback(), A), at(1))), A),
        (recorded(dialed(callback(), A), A, ended(LegOutcome.BUSY, 9, A)), A),
    ],
    ids=["after a conversation", "canceled by the client", "never answered"],
)
def test_a_party_hears_no_announcement_without_a_failure(before, name):
    assert outcomes.parting_sentence(before, before.leg(name), before.leg(name.other)) is None


def test_a_field_without_a_value_yet_is_null_and_present():
    new, done = (
        views.callback_view(callback()),
        views.callback_view(hung_up(hung_up(connected(), A, 50), B, 50)),
    )
    assert new.keys() == done.keys()
    assert new["leg_A"].keys() == done["leg_A"].keys()
    assert new["bridged_seconds"] is None
    assert done["bridged_seconds"] == 30
    assert done["ended_at"] == "2026-11-24T12:00:50.000Z"
