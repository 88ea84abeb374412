"""Allowed transitions: tables, and pure functions from one callback to the next.

This module reads no clock, no database and no carrier. A function takes a Callback and returns the
changed Callback, or None if the change is not allowed. `CallbackStore.change` makes it atomic.

Carrier events may arrive late, twice, out of order or never. `record` is therefore a merge: the
same set of events gives the same record in every order. A status only moves forward. A time keeps
its earliest report, a duration its largest. Of two contradicting outcomes, the one with precedence
wins. A reported cause or carrier code of that outcome is never dropped again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from callback.lifecycle import outcomes, timing
from callback.lifecycle.models import (
    Callback,
    CallbackStatus,
    CloseReason,
    Leg,
    LegName,
    LegOutcome,
    LegStatus,
    Order,
    Step,
    Waiting,
    WaitingFor,
)

_T = TypeVar("_T", str, int)

_AFTER_THE_CARRIER_TOOK_IT = (
    LegStatus.QUEUED,
    LegStatus.RINGING,
    LegStatus.ANSWERED,
    LegStatus.JOINED,
    LegStatus.ENDED,
)

# A leg may skip statuses forward, and never moves back. The one exception is dialing → planned,
# for a request that certainly did not reach the carrier.
LEG_MAY_BECOME: dict[LegStatus, frozenset[LegStatus]] = {
    LegStatus.PLANNED: frozenset({LegStatus.DIALING, LegStatus.ENDED}),
    LegStatus.DIALING: frozenset(
        {LegStatus.PLANNED, LegStatus.UNKNOWN, *_AFTER_THE_CARRIER_TOOK_IT}
    ),
    LegStatus.UNKNOWN: frozenset(_AFTER_THE_CARRIER_TOOK_IT),
    LegStatus.QUEUED: frozenset(_AFTER_THE_CARRIER_TOOK_IT[1:]),
    LegStatus.RINGING: frozenset(_AFTER_THE_CARRIER_TOOK_IT[2:]),
    LegStatus.ANSWERED: frozenset(_AFTER_THE_CARRIER_TOOK_IT[3:]),
    LegStatus.JOINED: frozenset(_AFTER_THE_CARRIER_TOOK_IT[4:]),
    LegStatus.ENDED: frozenset(),
}

_AFTER_WAITING = frozenset(CallbackStatus) - {CallbackStatus.WAITING}

# Only `start` and `close` let a callback leave `waiting`.
CALLBACK_MAY_BECOME: dict[CallbackStatus, frozenset[CallbackStatus]] = {
    CallbackStatus.WAITING: frozenset({CallbackStatus.ACCEPTED, CallbackStatus.ENDED}),
    CallbackStatus.ACCEPTED: _AFTER_WAITING - {CallbackStatus.ACCEPTED},
    CallbackStatus.CALLING_FIRST: frozenset(
        {CallbackStatus.CALLING_SECOND, CallbackStatus.CONNECTED, CallbackStatus.ENDED}
    ),
    CallbackStatus.CALLING_SECOND: frozenset({CallbackStatus.CONNECTED, CallbackStatus.ENDED}),
    CallbackStatus.CALLING_BOTH: frozenset({CallbackStatus.CONNECTED, CallbackStatus.ENDED}),
    CallbackStatus.CONNECTED: frozenset({CallbackStatus.ENDED}),
    CallbackStatus.ENDED: frozenset(),
}

# Of two outcomes of one leg, the earlier one in this list wins. Our own verdicts come first: an
# outcome that we reported to the client is final.
_OUTCOME_PRECEDENCE = (
    LegOutcome.DIAL_OUTCOME_UNKNOWN,
    LegOutcome.REJECTED,
    LegOutcome.COMPLETED,
    LegOutcome.BUSY,
    LegOutcome.NO_ANSWER,
    LegOutcome.FAILED,
    LegOutcome.CANCELED,
)

_TIME_OF: dict[LegStatus, str] = {
    LegStatus.RINGING: "ringing_at",
    LegStatus.ANSWERED: "answered_at",
    LegStatus.JOINED: "joined_at",
    LegStatus.ENDED: "ended_at",
}

# The longest duration of one create request. A claim that is older and has no call has lost its
# process: closing the callback may give it up.
DIAL_DEADLINE = timedelta(seconds=15)


@dataclass(frozen=True)
class LegEvent:
    """One report about a leg's call.

    `status` is None for an unknown carrier status, which `word` holds. `seconds` counts answered
    seconds and comes with the end. `left_queue`: the carrier starts dialing now.
    """

    status: LegStatus | None
    at: datetime
    call_sid: str | None = None
    outcome: LegOutcome | None = None
    cause: str | None = None
    carrier_code: int | None = None
    seconds: int | None = None
    word: str | None = None
    left_queue: bool = False


def over(callback: Callback) -> bool:
    """No leg may be dialed or joined any more: one leg has ended, or we are closing."""
    return callback.close_reason is not None or any(leg.ended for leg in callback.legs)


def is_waiting(callback: Callback) -> bool:
    """It is not started yet."""
    return callback.status is CallbackStatus.WAITING


def step_done(callback: Callback, step: Step) -> bool:
    """The first step is done when its legs are in the room, the second when both legs have
    ended."""
    if step is Step.SECOND:
        return callback.status is CallbackStatus.ENDED
    return all(
        callback.leg(name).status is LegStatus.JOINED
        for name in timing.legs_of_step(callback, step)
    )


def must_be_closed(callback: Callback) -> bool:
    """Whether we have to end a call, or an undialed leg.

    A conversation needs nothing: the carrier ends the room when one party leaves, and with it the
    other call. Its last webhook then ends the record. `reconcile` looks for a lost one.
    """
    if not over(callback) or callback.status is CallbackStatus.ENDED:
        return False
    talked = callback.close_reason is None and outcomes.were_connected(callback)
    return not talked or any(
        leg.status not in (LegStatus.JOINED, LegStatus.ENDED) for leg in callback.legs
    )


def _may_call_second(callback: Callback, name: LegName) -> bool:
    return name in timing.legs_of_step(callback, Step.FIRST) or step_done(callback, Step.FIRST)


def claim(callback: Callback, name: LegName, now: datetime) -> Callback | None:
    """Take the right to dial this leg. Exactly one claimant gets it."""
    leg = callback.leg(name)
    if leg.status is not LegStatus.PLANNED or over(callback) or is_waiting(callback):
        return None
    if not _may_call_second(callback, name) or (leg.not_before and now < leg.not_before):
        return None
    claimed = replace(
        leg,
        status=LegStatus.DIALING,
        attempt=leg.attempt + 1,
        not_before=None,
        dialed_at=now,
    )
    return _with_leg(callback, name, claimed)


def claim_step(callback: Callback, step: Step, now: datetime) -> Callback:
    """Claim the legs of this step that can be claimed."""
    for name in timing.legs_of_step(callback, step):
        callback = claim(callback, name, now) or callback
    return callback


def renew(callback: Callback, name: LegName, attempt: int, now: datetime) -> Callback:
    """Let a claim begin now: its process has had another request to make first."""
    leg = callback.leg(name)
    if leg.status is not LegStatus.DIALING or leg.attempt != attempt or leg.call_sid:
        return callback
    return _with_leg(callback, name, replace(leg, dialed_at=now))


def release(
    callback: Callback, name: LegName, attempt: int, not_before: datetime | None = None
) -> Callback | None:
    """Give a claim back: the carrier did not accept the request.

    Until `not_before`, the leg cannot be claimed again.
    """
    leg = callback.leg(name)
    if leg.status is not LegStatus.DIALING or leg.attempt != attempt:
        return None
    return _with_leg(
        callback,
        name,
        replace(leg, status=LegStatus.PLANNED, not_before=not_before, dialed_at=None),
    )


def record(callback: Callback, name: LegName, attempt: int, event: LegEvent) -> Callback | None:
    """Merge one event. None for an event of another attempt or another call."""
    leg = callback.leg(name)
    if leg.attempt != attempt or _other_call(leg, event.call_sid):
        return None
    leg = replace(leg, call_sid=leg.call_sid or event.call_sid)
    if event.status is None:
        word = _merge_optional(leg.unrecognised_status, event.word)
        return _with_leg(callback, name, replace(leg, unrecognised_status=word))
    if event.status in LEG_MAY_BECOME[leg.status]:
        leg = replace(leg, status=event.status)
    if field := _TIME_OF.get(event.status):
        leg = replace(leg, **{field: _earliest(getattr(leg, field), event.at)})  # type: ignore[arg-type]
    if event.status is LegStatus.ENDED:
        leg = _with_end(leg, event)
    return _with_leg(callback, name, leg)


def _with_end(leg: Leg, event: LegEvent) -> Leg:
    if event.seconds is not None:
        leg = replace(leg, seconds=max(event.seconds, leg.seconds or 0))
    if event.outcome is None:
        return leg
    if leg.outcome == event.outcome:
        return replace(
            leg,
            cause=_merge_optional(leg.cause, event.cause),
            carrier_code=_merge_optional(leg.carrier_code, event.carrier_code),
        )
    if (
        leg.outcome
        and min(leg.outcome, event.outcome, key=_OUTCOME_PRECEDENCE.index) is leg.outcome
    ):
        return leg
    return replace(leg, outcome=event.outcome, cause=event.cause, carrier_code=event.carrier_code)


def answer(
    callback: Callback, name: LegName, attempt: int, call_sid: str, now: datetime
) -> Callback | None:
    """The fence: admit this call to the room. It admits at most one call per leg, ever."""
    leg = callback.leg(name)
    if leg.status is LegStatus.PLANNED or over(callback):
        return None
    if not _may_call_second(callback, name):
        return None
    # The carrier's times are whole seconds. Its time of the joining must not precede this one.
    event = LegEvent(LegStatus.ANSWERED, at=now.replace(microsecond=0), call_sid=call_sid)
    admitted = record(callback, name, attempt, event)
    if admitted is None:
        return None
    leg = admitted.leg(name)
    return _with_leg(admitted, name, replace(leg, admitted_at=_earliest(leg.admitted_at, now)))


def connect(callback: Callback, at: datetime) -> Callback | None:
    """Both parties are in the room and hear each other."""
    return _derive(replace(callback, connected_at=_earliest(callback.connected_at, at)))


def wait(callback: Callback, task: Waiting) -> Callback | None:
    """Store the workflow's open task. An earlier task never replaces a later one.

    The invocation of an abandoned task may have been frozen, and may continue later.
    """
    latest = callback.waiting
    if latest and (latest.entered_at, latest.retry) > (task.entered_at, task.retry):
        return None
    return replace(callback, waiting=task)


def begin_waiting(
    callback: Callback, what: WaitingFor, place: int, expected_at: datetime | None
) -> Callback:
    """A callback that is not stored yet, as one that waits to be started."""
    return replace(
        callback,
        status=CallbackStatus.WAITING,
        waiting_for=what,
        waiting_place=place,
        expected_at=expected_at,
        reservation=None,
    )


def start(callback: Callback, now: datetime) -> Callback | None:
    """Let a waiting callback be accepted. The caller gives back its place among those waiting."""
    if not is_waiting(callback) or over(callback):
        return None
    return replace(callback, status=CallbackStatus.ACCEPTED, started_at=now, waiting_place=None)


def end_waiting(
    callback: Callback, reason: CloseReason, now: datetime, refusal: str | None = None
) -> Callback | None:
    """End a callback that was never started. Nothing is called and nobody waits for it."""
    if not is_waiting(callback):
        return None
    return close(replace(callback, refusal=refusal), reason, now)


def cancel(callback: Callback, now: datetime) -> Callback | None:
    """Cancel for the client. Not allowed if the callback is over for another reason.

    A waiting callback ends at once, at `now`."""
    if over(callback):
        return None
    if is_waiting(callback):
        return end_waiting(callback, CloseReason.CANCELED, now)
    return replace(callback, close_reason=CloseReason.CANCELED)


def stop(callback: Callback, names: Iterable[LegName]) -> Callback | None:
    """Calling is switched off: dial none of these legs. Not allowed if none is planned."""
    if over(callback) or not any(callback.leg(n).status is LegStatus.PLANNED for n in names):
        return None
    return replace(callback, close_reason=CloseReason.STOPPED)


def close(callback: Callback, reason: CloseReason | None, now: datetime) -> Callback | None:
    """End planned legs, and give up expired claims without a call.

    `reason` is None if a leg's own end is the reason. Live calls are ended through the carrier.
    Their end is then recorded like any other event.
    """
    if callback.status is CallbackStatus.ENDED:
        return None
    if reason and not over(callback):
        callback = replace(callback, close_reason=reason)
    for name in LegName:
        leg = callback.leg(name)
        if leg.status is LegStatus.PLANNED:
            event = LegEvent(
                LegStatus.ENDED, at=now, outcome=LegOutcome.CANCELED, cause="not_dialed"
            )
        elif _given_up(leg, now):
            event = never_made(now)
        else:
            continue
        callback = record(callback, name, leg.attempt, event) or callback
    return callback


def never_made(now: datetime) -> LegEvent:
    """The end of a leg whose create request was never confirmed."""
    return LegEvent(
        LegStatus.ENDED,
        at=now,
        outcome=LegOutcome.DIAL_OUTCOME_UNKNOWN,
        cause="carrier_did_not_answer",
    )


def give_up(callback: Callback, name: LegName, attempt: int, now: datetime) -> Callback | None:
    """The carrier has no call of this claim, long after it could have been requested.

    If the process of a first leg died before it recorded any response, the leg is planned again,
    once: nothing that was accepted is lost. A second leg is not: the first party has waited enough.
    """
    leg = callback.leg(name)
    is_first = name in timing.legs_of_step(callback, Step.FIRST)
    if is_first and leg.status is LegStatus.DIALING and attempt == 1 and not over(callback):
        return release(callback, name, attempt)
    return record(callback, name, attempt, never_made(now))


def claim_expired(leg: Leg, now: datetime) -> bool:
    """Whether the claim is older than the longest create request."""
    return leg.dialed_at is not None and now - leg.dialed_at > DIAL_DEADLINE


def _given_up(leg: Leg, now: datetime) -> bool:
    waits = leg.status in (LegStatus.DIALING, LegStatus.UNKNOWN) and leg.call_sid is None
    return waits and claim_expired(leg, now)


def _other_call(leg: Leg, call_sid: str | None) -> bool:
    return bool(call_sid and leg.call_sid and call_sid != leg.call_sid)


def _earliest(recorded: datetime | None, reported: datetime) -> datetime:
    return reported if recorded is None else min(recorded, reported)


def _merge_optional(one: _T | None, other: _T | None) -> _T | None:
    """The value that is not None; of two the smaller, so that their order does not matter."""
    return min((value for value in (one, other) if value is not None), default=None)


def _with_leg(callback: Callback, name: LegName, leg: Leg) -> Callback:
    changed = replace(callback, leg_a=leg) if name is LegName.A else replace(callback, leg_b=leg)
    return _derive(changed)


def _derive(callback: Callback) -> Callback:
    """Derive the callback's own status and outcome from its legs."""
    status = _status_of(callback)
    if status in CALLBACK_MAY_BECOME[callback.status]:
        callback = replace(callback, status=status)
    if callback.status is CallbackStatus.ENDED:
        outcome, cause = outcomes.decide_outcome(callback)
        ended_at = max(leg.ended_at for leg in callback.legs if leg.ended_at)
        days = callback.retention_days
        callback = replace(
            callback,
            outcome=outcome,
            cause=cause,
            ended_at=ended_at,
            expires_at=ended_at + timedelta(days=days) if days else callback.expires_at,
        )
    return callback


def _status_of(callback: Callback) -> CallbackStatus:
    first, second = timing.legs_by_order(callback)
    if first.ended and second.ended:
        return CallbackStatus.ENDED
    if callback.connected_at or all(leg.status is LegStatus.JOINED for leg in callback.legs):
        return CallbackStatus.CONNECTED
    if all(leg.status is LegStatus.PLANNED for leg in callback.legs):
        return CallbackStatus.ACCEPTED
    if callback.order is Order.SIMULTANEOUS:
        return CallbackStatus.CALLING_BOTH
    if second.dialed_at is None:  # planned, or ended undialed: canceled while the first rang
        return CallbackStatus.CALLING_FIRST
    return CallbackStatus.CALLING_SECOND
