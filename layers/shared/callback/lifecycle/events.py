"""Events for clients, derived from the difference that one write made to a callback's row.

This module reads no clock and no database. An event derived again after a crash is therefore the
same, byte for byte. `sequence` counts a callback's events from 1 without gaps: the row keeps the
count (`Callback.event_count`), and the write that makes the events also raises it.

Payloads are thin: ids, statuses, outcomes and times. Telephone numbers are only in the API.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from callback.lifecycle.models import (
    Callback,
    CallbackStatus,
    Leg,
    LegName,
    LegStatus,
    leg_times,
    maybe_text,
    to_text,
)

if TYPE_CHECKING:  # no function but the document's needs the types
    from callback.lifecycle.payloads import EventDataView, EventLegView


class EventType(StrEnum):
    CALLBACK_ACCEPTED = "callback.accepted"
    CALLBACK_WAITING = "callback.waiting"
    LEG_DIALING = "leg.dialing"
    LEG_QUEUED = "leg.queued"
    LEG_RINGING = "leg.ringing"
    LEG_ANSWERED = "leg.answered"
    LEG_JOINED = "leg.joined"
    LEG_ENDED = "leg.ended"
    CALLBACK_CONNECTED = "callback.connected"
    CALLBACK_ENDED = "callback.ended"


EVERY_LEG_EVENT = "leg.*"

# Tests an endpoint. It is sent regardless of the events that the endpoint selects.
TEST = "webhook.test"

# A leg that skips a status has no event for it. `planned` and `unknown` have no event at all.
_LEG_EVENTS: dict[LegStatus, EventType] = {
    LegStatus.DIALING: EventType.LEG_DIALING,
    LegStatus.QUEUED: EventType.LEG_QUEUED,
    LegStatus.RINGING: EventType.LEG_RINGING,
    LegStatus.ANSWERED: EventType.LEG_ANSWERED,
    LegStatus.JOINED: EventType.LEG_JOINED,
    LegStatus.ENDED: EventType.LEG_ENDED,
}

_CALLBACK_EVENTS: dict[CallbackStatus, EventType] = {
    CallbackStatus.WAITING: EventType.CALLBACK_WAITING,
    CallbackStatus.CONNECTED: EventType.CALLBACK_CONNECTED,
    CallbackStatus.ENDED: EventType.CALLBACK_ENDED,
}


@dataclass(frozen=True)
class Event:
    """`message_id` is the same for every delivery of the event. `payload` is JSON."""

    message_id: str
    type: EventType
    callback_id: str
    sequence: int
    at: datetime
    payload: str


def derive_events(old: Callback | None, new: Callback) -> list[Event]:
    """The events of one write, oldest first. `old` is None for a new callback."""
    kinds = _kinds(old, new)
    first = new.event_count - len(kinds) + 1
    return [_event(new, *kind, sequence) for sequence, kind in enumerate(kinds, first)]


def with_event_count(old: Callback | None, new: Callback) -> Callback:
    """`new` with the event count to write. `old` is None for a new callback."""
    earlier = old.event_count if old else 0
    return replace(new, event_count=earlier + len(_kinds(old, new)))


def is_selected(kind: str, selection: Iterable[str]) -> bool:
    """Whether an endpoint's selection contains this type of event."""
    return kind in selection or (kind.startswith("leg.") and EVERY_LEG_EVENT in selection)


def _kinds(old: Callback | None, new: Callback) -> list[tuple[EventType, LegName | None]]:
    kinds: list[tuple[EventType, LegName | None]] = []
    if old is None:  # stored with the claims of its first step
        kinds.append((EventType.CALLBACK_ACCEPTED, None))
    for name in LegName:
        status, before = new.leg(name).status, old.leg(name).status if old else None
        if status is not before and status in _LEG_EVENTS:
            kinds.append((_LEG_EVENTS[status], name))
    if new.status is not (old.status if old else None) and new.status in _CALLBACK_EVENTS:
        kinds.append((_CALLBACK_EVENTS[new.status], None))
    return kinds


def _event(callback: Callback, kind: EventType, name: LegName | None, sequence: int) -> Event:
    at = _time_of(callback, kind, name)
    data: EventDataView = {
        "callback_id": callback.callback_id,
        "sequence": sequence,
        "status": callback.status,
        "outcome": callback.outcome,
        "cause": callback.cause,
        "created_at": to_text(callback.created_at),
        "connected_at": maybe_text(callback.connected_at),
        "ended_at": maybe_text(callback.ended_at),
    }
    if name:
        data["leg"] = _leg(name, callback.leg(name))
    return Event(
        message_id=f"msg_{callback.callback_id}_{sequence}",
        type=kind,
        callback_id=callback.callback_id,
        sequence=sequence,
        at=at,
        payload=payload(kind, at, data),
    )


def payload(kind: str, at: datetime, data: "EventDataView | dict[str, Any]") -> str:
    """The body of a webhook (Standard Webhooks 1.0.0, "Payload structure")."""
    return json.dumps({"type": kind, "timestamp": to_text(at), "data": data}, separators=(",", ":"))


def _leg(name: LegName, leg: Leg) -> "EventLegView":
    return {
        "name": name,
        "status": leg.status,
        "outcome": leg.outcome,
        "cause": leg.cause,
        "carrier_code": leg.carrier_code,
        "attempt": leg.attempt,
        **leg_times(leg),
        "seconds": leg.seconds,
    }


def _time_of(callback: Callback, kind: EventType, name: LegName | None) -> datetime:
    """The time of an event in the row. An event without one has the latest time before it."""
    earlier = [callback.created_at]
    if name:
        leg = callback.leg(name)
        own = {
            EventType.LEG_RINGING: leg.ringing_at,
            EventType.LEG_ANSWERED: leg.answered_at,
            EventType.LEG_JOINED: leg.joined_at,
            EventType.LEG_ENDED: leg.ended_at,
        }.get(kind, leg.dialed_at)
    elif kind is EventType.CALLBACK_CONNECTED:
        own = callback.connected_at
        earlier += [leg.joined_at for leg in callback.legs if leg.joined_at]
    else:
        own = callback.ended_at
    return own or max(earlier)
