"""The allowed transitions: claim, fence, merge, close."""

from dataclasses import replace
from datetime import timedelta
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callback.lifecycle import timing, transitions
from callback.lifecycle.models import (
    CallbackStatus,
    CloseReason,
    LegName,
    LegOutcome,
    LegStatus,
    Order,
    Step,
)
from tests.support.build import (
    SIDS,
    allowed,
    at,
    callback,
    connected,
    dialed,
    ended,
    event,
    joined,
    recorded,
    task,
)

A, B = LegName.A, LegName.B


# --------------------------------------------------------------------------------- the claim


@pytest.mark.parametrize(
    ("order", "first", "not_yet"),
    [
        (Order.SEQUENTIAL, [A], [B]),
        (Order.REVERSE, [B], [A]),
        (Order.SIMULTANEOUS, [A, B], []),
    ],
)
def test_only_the_legs_of_the_first_step_can_be_claimed_at_first(order, first, not_yet):
    new = callback(order)
    assert [name for name in LegName if transitions.claim(new, name, at(0))] == first
    assert [name for name in LegName if not transitions.claim(new, name, at(0))] == not_yet


def test_a_leg_is_claimed_once():
    claimed = allowed(transitions.claim(callback(), A, at(0)))
    assert claimed.leg_a.status is LegStatus.DIALING
    assert claimed.leg_a.attempt == 1
    assert claimed.status is CallbackStatus.CALLING_FIRST
    assert transitions.claim(claimed, A, at(1)) is None


@pytest.mark.parametrize("status", [LegStatus.QUEUED, LegStatus.RINGING, LegStatus.ANSWERED])
def test_the_second_leg_cannot_be_claimed_until_the_first_is_in_the_room(status):
    waiting = recorded(dialed(callback(), A), A, event(status, 3))
    assert transitions.claim(waiting, B, at(4)) is None
    in_room = recorded(waiting, A, event(LegStatus.JOINED, 5))
    assert allowed(transitions.claim(in_room, B, at(6))).status is CallbackStatus.CALLING_SECOND


def test_the_second_leg_cannot_be_claimed_after_the_first_party_has_hung_up():
    gone = recorded(joined(callback(), A), A, ended(LegOutcome.COMPLETED, 6, A))
    assert transitions.claim(gone, B, at(7)) is None


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (task(Step.FIRST, "a"), task(Step.SECOND, "b", entered=5)),
        (task(Step.FIRST, "a", retry=1), task(Step.FIRST, "b", retry=2)),
        (task(Step.FIRST, "a", retry=5), task(Step.SECOND, "b", entered=5, retry=0)),
    ],
)
def test_a_later_task_replaces_an_earlier_one_and_not_the_reverse(earlier, later):
    waiting = allowed(transitions.wait(callback(), earlier))
    assert waiting.waiting == earlier
    assert allowed(transitions.wait(waiting, later)).waiting == later
    assert transitions.wait(allowed(transitions.wait(callback(), later)), earlier) is None


def test_the_same_task_may_begin_again():
    waiting = allowed(transitions.wait(callback(), task(Step.FIRST)))
    assert transitions.wait(waiting, task(Step.FIRST)) == waiting


def test_a_stop_ends_a_callback_only_if_one_of_its_legs_is_planned():
    stopped = allowed(transitions.stop(callback(), [LegName.A]))
    assert stopped.close_reason is CloseReason.STOPPED
    assert transitions.stop(stopped, [LegName.A]) is None
    under_way = dialed(callback(), LegName.A)
    assert transitions.stop(under_way, [LegName.A]) is None
    one_of_both = allowed(transitions.stop(under_way, list(LegName)))
    assert one_of_both.close_reason is CloseReason.STOPPED


@pytest.mark.parametrize("name", LegName)
def test_no_leg_of_a_canceled_callback_can_be_claimed(name):
    canceled = allowed(transitions.cancel(callback(Order.SIMULTANEOUS), at(1)))
    assert transitions.claim(canceled, name, at(1)) is None


def test_a_released_leg_can_be_claimed_as_a_new_attempt():
    claimed = allowed(transitions.claim(callback(), A, at(0)))
    released = allowed(transitions.release(claimed, A, 1))
    assert released.leg_a.status is LegStatus.PLANNED
    assert allowed(transitions.claim(released, A, at(1))).leg_a.attempt == 2


def test_a_leg_with_a_pause_can_be_claimed_only_after_it():
    claimed = allowed(transitions.claim(callback(), A, at(0)))
    waits = allowed(transitions.release(claimed, A, 1, at(10)))
    assert transitions.claim(waits, A, at(9.999)) is None
    again = allowed(transitions.claim(waits, A, at(10))).leg_a
    assert (again.status, again.attempt, again.not_before) == (LegStatus.DIALING, 2, None)


@pytest.mark.parametrize(
    ("requested", "least", "most"), [(1, 1, 1.25), (20, 20, 25), (3600, 20, 25)]
)
def test_a_pause_is_the_requested_time_or_up_to_a_quarter_more_within_bounds(
    requested, least, most
):
    pauses = [timing.pause(timedelta(seconds=requested), chance) for chance in (0, 0.5, 1)]
    assert pauses == sorted(set(pauses))
    assert (pauses[0], pauses[-1]) == (timedelta(seconds=least), timedelta(seconds=most))


def test_a_claim_cannot_be_released_once_the_carrier_has_the_call():
    assert transitions.release(dialed(callback(), A), A, 1) is None


# --------------------------------------------------------------------------------- the fence


def test_the_fence_admits_an_answered_call_and_admits_it_again():
    ringing = dialed(callback(), A)
    admitted = allowed(transitions.answer(ringing, A, 1, SIDS[A], at(3)))
    assert admitted.leg_a.status is LegStatus.ANSWERED
    assert transitions.answer(admitted, A, 1, SIDS[A], at(4))


def test_the_fence_adopts_a_call_whose_creation_was_not_confirmed():
    unknown = recorded(
        allowed(transitions.claim(callback(), A, at(0))),
        A,
        replace(event(LegStatus.UNKNOWN, 1), call_sid=None),
    )
    admitted = allowed(transitions.answer(unknown, A, 1, SIDS[A], at(5)))
    assert admitted.leg_a.call_sid == SIDS[A]
    assert transitions.answer(admitted, A, 1, SIDS[B], at(6)) is None, "one call per leg"


@pytest.mark.parametrize(
    ("before", "attempt", "sid"),
    [
        (dialed(callback(), A), 2, SIDS[A]),
        (dialed(callback(), A), 1, SIDS[B]),
        (callback(), 0, SIDS[A]),
        (allowed(transitions.cancel(dialed(callback(), A), at(1))), 1, SIDS[A]),
        (recorded(dialed(callback(), A), A, ended(LegOutcome.BUSY, 2, A)), 1, SIDS[A]),
    ],
    ids=["another attempt", "another call", "never dialed", "canceled", "ended"],
)
def test_the_fence_admits_no_other_call(before, attempt, sid):
    assert transitions.answer(before, A, attempt, sid, at(9)) is None


def test_the_fence_does_not_admit_the_second_party_after_the_first_has_hung_up():
    ringing = dialed(joined(callback(), A), B, 6)
    gone = recorded(ringing, A, ended(LegOutcome.COMPLETED, 7, A))
    assert transitions.answer(gone, B, 1, SIDS[B], at(7)) is None


# --------------------------------------------------------------------------------- the merge


@pytest.mark.parametrize("before", LegStatus)
@pytest.mark.parametrize("reported", [s for s in LegStatus if s is not LegStatus.PLANNED])
def test_a_leg_moves_forward_and_never_back(before, reported):
    places = list(LegStatus)
    leg = replace(callback().leg_a, status=before, attempt=1, ended_at=at(1))
    now = allowed(transitions.record(callback(leg_a=leg), A, 1, event(reported, 2))).leg_a.status
    if before is LegStatus.PLANNED:
        assert now in (LegStatus.PLANNED, LegStatus.DIALING, LegStatus.ENDED)
    else:
        assert places.index(now) == max(places.index(before), places.index(reported))


ONE_LEG = [
    event(LegStatus.QUEUED, 0),
    event(LegStatus.RINGING, 2),
    event(LegStatus.ANSWERED, 5),
    event(LegStatus.JOINED, 6),
    ended(LegOutcome.COMPLETED, 60, A, seconds=55),
]


def test_every_order_of_one_legs_events_gives_one_record():
    begun = dialed(callback(), A)
    records = {repr(recorded(begun, A, *order)) for order in permutations([*ONE_LEG, ONE_LEG[3]])}
    assert len(records) == 1


@given(
    st.permutations(
        [(A, e) for e in ONE_LEG]
        + [
            (B, event(LegStatus.RINGING, 9, B)),
            (B, event(LegStatus.ANSWERED, 12, B)),
            (B, event(LegStatus.JOINED, 12, B)),
            (B, ended(LegOutcome.COMPLETED, 60, B, seconds=48)),
            (B, ended(LegOutcome.BUSY, 61, B, cause="sip_486")),
            (None, None),
        ]
    )
)
def test_every_order_of_both_legs_events_gives_one_record_even_with_a_contradiction(history):
    both = dialed(dialed(callback(Order.SIMULTANEOUS), A), B)
    for name, report in history:
        both = recorded(both, name, report) if name else allowed(transitions.connect(both, at(13)))
    assert (both.status, both.outcome) == (CallbackStatus.ENDED, "completed")
    assert both.leg_b.outcome is LegOutcome.COMPLETED
    assert (both.leg_a.seconds, both.leg_b.seconds) == (55, 48)
    assert both.leg_a.ringing_at == at(2)
    assert both.connected_at == at(13)


ENDS_OF_ONE_LEG = [
    ended(LegOutcome.CANCELED, 9, A),
    ended(LegOutcome.BUSY, 9, A),
    ended(LegOutcome.BUSY, 9, A, cause="sip_486"),
    ended(LegOutcome.BUSY, 9, A, cause="sip_600", carrier_code=13224),
    ended(LegOutcome.BUSY, 9, A, carrier_code=13227),
]


@pytest.mark.parametrize("some", [2, 3, len(ENDS_OF_ONE_LEG)])
def test_every_order_of_one_legs_ends_gives_one_record_with_or_without_causes(some):
    """The carrier's webhook reports an end with its cause. A fetched call has no cause."""
    begun = dialed(callback(), A)
    for ends in combinations(ENDS_OF_ONE_LEG, some):
        records = {repr(recorded(begun, A, *order)) for order in permutations(ends)}
        assert len(records) == 1, ends


@pytest.mark.parametrize("order", [(None, "sip_486"), ("sip_486", None)])
def test_a_cause_reported_once_is_kept(order):
    reports = [ended(LegOutcome.BUSY, 5, A, cause=cause, carrier_code=7) for cause in order]
    leg = recorded(dialed(callback(), A), A, *reports).leg_a
    assert (leg.outcome, leg.cause, leg.carrier_code) == (LegOutcome.BUSY, "sip_486", 7)


def test_the_cause_belongs_to_the_outcome_that_wins():
    reports = [ended(LegOutcome.BUSY, 5, A, cause="sip_486"), ended(LegOutcome.COMPLETED, 5, A)]
    for order in permutations(reports):
        assert recorded(dialed(callback(), A), A, *order).leg_a.cause is None


def test_unknown_statuses_give_one_record_in_any_order():
    begun = dialed(callback(), A)
    reports = [replace(event(LegStatus.QUEUED, 1), status=None, word=word) for word in "bac"]
    assert len({repr(recorded(begun, A, *order)) for order in permutations(reports)}) == 1


def test_an_event_of_another_call_changes_nothing():
    begun = dialed(callback(), A)
    assert transitions.record(begun, A, 1, event(LegStatus.ENDED, 5, B)) is None
    assert transitions.record(begun, A, 2, event(LegStatus.ENDED, 5)) is None


def test_an_unknown_status_is_kept_and_changes_no_status():
    begun = dialed(callback(), A)
    report = replace(event(LegStatus.QUEUED, 1), status=None, word="levitating")
    after = recorded(begun, A, report)
    assert after.leg_a.unrecognised_status == "levitating"
    assert after.leg_a.status is begun.leg_a.status


# --------------------------------------------------------------------------- steps and closing


def test_the_first_step_is_done_when_all_its_legs_are_in_the_room():
    both = dialed(dialed(callback(Order.SIMULTANEOUS), A), B)
    one = joined(both, A)
    assert not transitions.step_done(one, Step.FIRST)
    assert transitions.step_done(joined(one, B), Step.FIRST)


@pytest.mark.parametrize("order", Order)
def test_the_second_step_lasts_until_somebody_hangs_up(order):
    talking = connected(order)
    assert not transitions.step_done(talking, Step.SECOND)
    assert not transitions.over(talking)
    assert transitions.over(recorded(talking, B, ended(LegOutcome.COMPLETED, 50, B)))


def test_closing_ends_a_leg_that_was_never_dialed():
    busy = recorded(dialed(callback(), A), A, ended(LegOutcome.BUSY, 3, A))
    closed = allowed(transitions.close(busy, None, at(4)))
    assert (closed.leg_b.outcome, closed.leg_b.cause) == (LegOutcome.CANCELED, "not_dialed")
    assert (closed.status, closed.outcome) == (CallbackStatus.ENDED, "first_leg_busy")
    assert closed.ended_at == at(4)


@pytest.mark.parametrize(
    ("order", "first", "second"), [(Order.SEQUENTIAL, A, B), (Order.REVERSE, B, A)]
)
def test_a_callback_whose_second_leg_was_never_dialed_is_calling_the_first(order, first, second):
    """The first leg rings when the callback is canceled. The carrier reports its end later."""
    canceled = allowed(transitions.cancel(dialed(callback(order), first), at(1)))
    closing = allowed(transitions.close(canceled, None, at(3)))
    assert (closing.leg(second).ended, closing.leg(first).ended) == (True, False)
    assert closing.status is CallbackStatus.CALLING_FIRST
    over = recorded(closing, first, ended(LegOutcome.CANCELED, 4, first))
    assert over.status is CallbackStatus.ENDED


def test_a_callback_stays_calling_second_after_that_claim_is_released():
    """Statuses only move forward."""
    begun = allowed(transitions.claim(joined(callback(), A), B, at(6)))
    assert begun.status is CallbackStatus.CALLING_SECOND
    again = allowed(transitions.release(begun, B, 1))
    assert again.status is CallbackStatus.CALLING_SECOND


def test_closing_keeps_a_recent_claim_and_gives_up_an_expired_one():
    claimed = allowed(transitions.claim(callback(), A, at(0)))
    early = allowed(transitions.close(claimed, CloseReason.TIMED_OUT, at(14)))
    assert early.leg_a.status is LegStatus.DIALING
    late = allowed(transitions.close(claimed, CloseReason.TIMED_OUT, at(16)))
    assert late.leg_a.outcome is LegOutcome.DIAL_OUTCOME_UNKNOWN
    assert late.outcome == "first_leg_dial_outcome_unknown"


def test_closing_leaves_a_live_call_to_the_carrier():
    talking = recorded(connected(), A, ended(LegOutcome.COMPLETED, 50, A))
    closed = allowed(transitions.close(talking, None, at(51)))
    assert closed.leg_b.status is LegStatus.JOINED
    assert closed.status is CallbackStatus.CONNECTED


def test_an_ended_callback_is_neither_canceled_nor_closed_again():
    done = recorded(connected(), A, ended(LegOutcome.COMPLETED, 50, A))
    done = recorded(done, B, ended(LegOutcome.COMPLETED, 50, B))
    assert done.status is CallbackStatus.ENDED
    assert transitions.cancel(done, at(1)) is None
    assert transitions.close(done, CloseReason.FAILED, at(60)) is None


def test_our_close_reason_does_not_replace_a_partys_own_end():
    gone = recorded(joined(callback(), A), A, ended(LegOutcome.COMPLETED, 6, A))
    assert allowed(transitions.close(gone, CloseReason.TIMED_OUT, at(90))).close_reason is None
