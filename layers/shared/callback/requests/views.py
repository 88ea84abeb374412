"""The callback as clients see it: one shape for the answer to POST, GET, DELETE and in lists.

Times are RFC 3339 UTC, durations whole seconds; what is not known yet is null.
"""

from typing import Any

from callback.lifecycle import outcomes
from callback.lifecycle.models import Callback, Leg, leg_times, maybe_text


def callback_view(callback: Callback) -> dict[str, Any]:
    return {
        "callback_id": callback.callback_id,
        "status": callback.status,
        "outcome": callback.outcome,
        "cause": callback.cause,
        "source": callback.source,
        "order": callback.order,
        "leg_A": _leg(callback.leg_a),
        "leg_B": _leg(callback.leg_b),
        "bridged_seconds": outcomes.bridged_seconds(callback),
        "max_duration_seconds": callback.max_duration_seconds,
        "metadata": callback.metadata,
        "created_at": maybe_text(callback.created_at),
        "connected_at": maybe_text(callback.connected_at),
        "ended_at": maybe_text(callback.ended_at),
    }


def _leg(leg: Leg) -> dict[str, Any]:
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
