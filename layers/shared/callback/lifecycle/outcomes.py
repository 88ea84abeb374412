"""How a callback came out, told from its two legs; and what the one left waiting hears."""

from datetime import timedelta

from callback.lifecycle import timing
from callback.lifecycle.models import Callback, CloseReason, Leg, LegName, LegOutcome, LegStatus

# The other party could not be reached. CANCELED and COMPLETED are not among them: those end
# a leg because of something else, which is then the outcome.
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

_SORRY = "We could not connect your call. Goodbye."

SENTENCES: dict[LegOutcome, str] = {
    LegOutcome.BUSY: "The other party is busy. Please try again later. Goodbye.",
    LegOutcome.NO_ANSWER: "The other party did not answer. Please try again later. Goodbye.",
    LegOutcome.FAILED: "The other party could not be reached. Goodbye.",
    LegOutcome.REJECTED: "The other party could not be reached. Goodbye.",
    LegOutcome.DIAL_OUTCOME_UNKNOWN: _SORRY,
}


def of(callback: Callback) -> tuple[str, str | None]:
    """(outcome, cause) of a callback whose legs have both ended. First match wins."""
    first, second = timing.by_order(callback)
    if callback.close_reason in _CANCELED_BY:
        return "canceled", _CANCELED_BY[callback.close_reason]
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
    """A leg that was claimed and yet never dialed: the carrier took no request."""
    turned_away = any(leg.attempt and leg.cause == "not_dialed" for leg in callback.legs)
    return "carrier_unavailable" if turned_away else "workflow_gave_up"


def _why_talk_ended(callback: Callback) -> str:
    """The carrier does not say who hung up, but a call that lasted its whole limit was cut."""
    for name in LegName:
        talked = timedelta(seconds=callback.leg(name).seconds or 0)
        if talked >= timing.time_limit(callback, name):
            return "max_duration_reached"
    return "hung_up"


def were_connected(callback: Callback) -> bool:
    """The carrier told that the room opened; or, that word lost, the two stays overlap.

    A stay begins when the call was sent into the room, where nobody told that it got there.
    """
    if callback.connected_at:
        return True
    a, b = callback.legs
    if not (a.in_room_from and b.in_room_from):
        return False
    both_in = max(a.in_room_from, b.in_room_from)
    return all(leg.ended_at is None or both_in < leg.ended_at for leg in callback.legs)


def bridged_seconds(callback: Callback) -> int | None:
    """Whole seconds both parties were in the room; None while that is not known."""
    a, b = callback.legs
    if not were_connected(callback) or not any(leg.ended_at for leg in callback.legs):
        return 0 if a.ended and b.ended else None
    began = callback.connected_at or max(leg.in_room_from for leg in (a, b) if leg.in_room_from)
    ended = min(leg.ended_at for leg in (a, b) if leg.ended_at)
    return max(0, round((ended - began) / timedelta(seconds=1)))


def parting_sentence(callback: Callback, leg: Leg, other: Leg) -> str | None:
    """What a party still on the line hears before we hang up; None: nothing to explain."""
    if leg.status not in (LegStatus.ANSWERED, LegStatus.JOINED) or were_connected(callback):
        return None
    if other.outcome in SENTENCES:
        return SENTENCES[other.outcome]
    if callback.close_reason in (CloseReason.TIMED_OUT, CloseReason.FAILED, CloseReason.STOPPED):
        return _SORRY
    return None
