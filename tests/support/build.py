"""Callbacks and events for tests, valid by default."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from callback.lifecycle import timing, transitions
from callback.lifecycle.models import (
    Callback,
    Leg,
    LegName,
    LegOutcome,
    LegStatus,
    Order,
    Step,
    Waiting,
)
from callback.lifecycle.transitions import LegEvent

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
SIDS = {LegName.A: "CA" + "a" * 32, LegName.B: "CA" + "b" * 32}


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def callback(order: Order = Order.SEQUENTIAL, **fields: Any) -> Callback:
    return replace(
        Callback(
            callback_id="cb-1",
            tenant="default",
            order=order,
            room="room-1",
            created_at=NOON,
            expires_at=NOON + timedelta(days=36_500),
            max_duration_seconds=600,
            leg_a=Leg(to="1000123", caller_id="1000125", ring_timeout_seconds=30),
            leg_b=Leg(to="1000125", caller_id="1000123", ring_timeout_seconds=30),
        ),
        **fields,
    )


def task(step: Step, token: str = "token", entered: float = 0, retry: int = 0) -> Waiting:
    return Waiting(step, token, at(entered), retry)


def event(status: LegStatus, when: float, name: LegName = LegName.A, **fields: Any) -> LegEvent:
    return LegEvent(status, at=at(when), call_sid=SIDS[name], **fields)


def ended(outcome: LegOutcome, when: float, name: LegName, **fields: Any) -> LegEvent:
    return event(LegStatus.ENDED, when, name, outcome=outcome, **fields)


def allowed(changed: Callback | None) -> Callback:
    assert changed is not None
    return changed


def recorded(before: Callback, name: LegName, *events: LegEvent) -> Callback:
    for each in events:
        before = allowed(transitions.record(before, name, before.leg(name).attempt, each))
    return before


def dialed(before: Callback, name: LegName, seconds: float = 0) -> Callback:
    claimed = allowed(transitions.claim(before, name, at(seconds)))
    return recorded(claimed, name, event(LegStatus.QUEUED, seconds, name))


def joined(before: Callback, name: LegName, seconds: float = 5) -> Callback:
    before = dialed(before, name) if before.leg(name).status is LegStatus.PLANNED else before
    return recorded(
        before,
        name,
        event(LegStatus.RINGING, seconds - 2, name),
        event(LegStatus.ANSWERED, seconds - 1, name),
        event(LegStatus.JOINED, seconds, name),
    )


def connected(order: Order = Order.SEQUENTIAL) -> Callback:
    both = callback(order)
    if order is Order.SIMULTANEOUS:
        both = dialed(dialed(both, LegName.A), LegName.B)
    for seconds, name in enumerate(
        timing.STEPS[order][Step.FIRST] + timing.STEPS[order][Step.SECOND], 1
    ):
        both = joined(both, name, seconds * 10)
    return allowed(transitions.connect(both, at(20)))
