"""The callback as clients see it, in the responses to POST, GET and DELETE and in lists."""

from typing import TYPE_CHECKING

from callback.lifecycle import outcomes
from callback.lifecycle.models import Callback, Leg, leg_times, maybe_text, to_text
from callback.lifecycle.transitions import is_waiting

if TYPE_CHECKING:  # no function but the document's needs the types
    from callback.requests.record import AcceptedView, CallbackPageView, CallbackView, LegView
    from callback.storage.listings import Page


def callback_view(callback: Callback) -> "CallbackView":
    return {
        "callback_id": callback.callback_id,
        "status": callback.status,
        "outcome": callback.outcome,
        "cause": callback.cause,
        "waiting_for": callback.waiting_for if is_waiting(callback) else None,
        "expected_at": maybe_text(callback.expected_at) if is_waiting(callback) else None,
        "start_by": maybe_text(callback.start_by),
        "source": callback.source,
        "order": callback.order,
        "leg_A": _leg_view(callback.leg_a),
        "leg_B": _leg_view(callback.leg_b),
        "bridged_seconds": outcomes.bridged_seconds(callback),
        "max_duration_seconds": callback.max_duration_seconds,
        "metadata": callback.metadata,
        "created_at": to_text(callback.created_at),
        "connected_at": maybe_text(callback.connected_at),
        "ended_at": maybe_text(callback.ended_at),
    }


def accepted_view(callback_id: str) -> "AcceptedView":
    return {"callback_id": callback_id}


def page_view(page: "Page") -> "CallbackPageView":
    return {
        "callbacks": [callback_view(callback) for callback in page.callbacks],
        "next_cursor": page.cursor,
    }


def _leg_view(leg: Leg) -> "LegView":
    return {
        "to": leg.to,
        "from": leg.caller_id,
        "status": leg.status,
        "outcome": leg.outcome,
        "cause": leg.cause,
        "carrier_code": leg.carrier_code,
        "call_sid": leg.call_sid,
        "attempts": leg.attempt,
        "ring_timeout_seconds": leg.ring_timeout_seconds,
        **leg_times(leg),
        "seconds": leg.seconds,
    }
