"""A callback's outcome, decided from its two legs; the announcement for a waiting party."""

from datetime import timedelta

from callback.lifecycle import timing
from callback.lifecycle.models import (
    Callback,
    CloseReason,
    Leg,
    LegName,
    LegOutcome,
    LegStatus,
    WaitingFor,
)

# A party could not be reached. CANCELED and COMPLETED are no failures: such a leg ended for
# another reason, and that reason is the callback's outcome.
FAILURES = (
    LegOutcome.BUSY,
    LegOutcome.NO_ANSWER,
    LegOutcome.FAILED,
    LegOutcome.REJECTED,
    LegOutcome.DIAL_OUTCOME_UNKNOWN,
)

_CANCELED_BY = {
    CloseReason.CANCELED: "client_request",
    CloseReason.STOPPED: "calling_stopped",
}

_NEVER_STARTED = (CloseReason.EXPIRED, CloseReason.NOT_PLACED)

# Why a callback expired, by what it waited for.
_EXPIRED_BECAUSE = {
    WaitingFor.DEPARTURE: "no_departure",
    WaitingFor.LIMITS: "limits_full",
}

_SORRY = "We could not connect your call. Goodbye."

SENTENCES: dict[LegOutcome, str] = {
    LegOutcome.BUSY: "The other party is busy. Please try again later. Goodbye.",
    LegOutcome.NO_ANSWER: "The other party did not answer. Please try again later. Goodbye.",
    LegOutcome.FAILED: "The other party could not be reached. Goodbye.",
    LegOutcome.REJECTED: "The other party could not be reached. Goodbye.",
    LegOutcome.DIAL_OUTCOME_UNKNOWN: _SORRY,
}


def decide_outcome(callback: Callback) -> tuple[str, str | None]:
    """(outcome, cause) of a callback with two ended legs. The first match wins."""
    if callback.close_reason in _NEVER_STARTED:
        return str(callback.close_reason), _why_never_started(callback)
    if callback.close_reason in _CANCELED_BY:
        return "canceled", _CANCELED_BY[callback.close_reason]
    return _outcome_of_calls(callback)


def _why_never_started(callback: Callback) -> str | None:
    if callback.waiting_for is None:
        return callback.refusal
    return callback.refusal or _EXPIRED_BECAUSE[callback.waiting_for]


def _outcome_of_calls(callback: Callback) -> tuple[str, str | None]:
    first, second = timing.legs_by_order(callback)
    if were_connected(callback):
        return "completed", _why_talk_ended(callback)
    for place, leg in (("first", first), ("second", second)):
        if leg.outcome in FAILURES:
            return f"{place}_leg_{leg.outcome}", leg.cause
    if callback.close_reason:
        return str(callback.close_reason), _why_given_up(callback)
    for place, leg in (("first", first), ("second", second)):
        if leg.outcome is LegOutcome.COMPLETED:
            return f"{place}_leg_abandoned", "hung_up_while_other_rang"
    return f"first_leg_{first.outcome}", first.cause


def _why_given_up(callback: Callback) -> str:
    """A leg that was claimed but not dialed means that the carrier accepted no request."""
    turned_away = any(leg.attempt and leg.cause == "not_dialed" for leg in callback.legs)
    return "carrier_unavailable" if turned_away else "workflow_gave_up"


def _why_talk_ended(callback: Callback) -> str:
    """The carrier does not report who hung up. A call as long as its limit was cut off."""
    for name in LegName:
        talked = timedelta(seconds=callback.leg(name).seconds or 0)
        if talked >= timing.time_limit(callback, name):
            return "max_duration_reached"
    return "hung_up"


def were_connected(callback: Callback) -> bool:
    """Whether the carrier reported a conversation, or both parties were in the room at once.

    The second rule covers a lost report. If the report of a party's joining was lost, its stay in
    the room begins at its admission.
    """
    if callback.connected_at:
        return True
    a, b = callback.legs
    if not (a.in_room_from and b.in_room_from):
        return False
    both_in = max(a.in_room_from, b.in_room_from)
    return all(leg.ended_at is None or both_in < leg.ended_at for leg in callback.legs)


def bridged_seconds(callback: Callback) -> int | None:
    """Whole seconds with both parties in the room. None until that is certain."""
    a, b = callback.legs
    if not were_connected(callback) or not any(leg.ended_at for leg in callback.legs):
        return 0 if a.ended and b.ended else None
    began = callback.connected_at or max(leg.in_room_from for leg in (a, b) if leg.in_room_from)
    ended = min(leg.ended_at for leg in (a, b) if leg.ended_at)
    return max(0, round((ended - began) / timedelta(seconds=1)))


def parting_sentence(callback: Callback, leg: Leg, other: Leg) -> str | None:
    """The announcement for a party on the line before we hang up. None: no announcement."""
    if leg.status not in (LegStatus.ANSWERED, LegStatus.JOINED) or were_connected(callback):
        return None
    if other.outcome in SENTENCES:
        return SENTENCES[other.outcome]
    if callback.close_reason in (CloseReason.TIMED_OUT, CloseReason.FAILED, CloseReason.STOPPED):
        return _SORRY
    return None
