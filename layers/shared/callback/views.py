"""The callback as clients see it: one shape for the answer to POST, GET, DELETE and in lists.

Times are RFC 3339 UTC, durations whole seconds; what is not known yet is null.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from callback import outcomes
from callback.models import Callback, Leg, to_text

if TYPE_CHECKING:
    from callback.erasures import Erasure


def of(callback: Callback) -> dict[str, Any]:
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
        "created_at": _text(callback.created_at),
        "connected_at": _text(callback.connected_at),
        "ended_at": _text(callback.ended_at),
    }


def of_erasure(erasure: "Erasure") -> dict[str, Any]:
    return {
        "erasure_id": erasure.erasure_id,
        "status": "done" if erasure.finished_at else "erasing",
        "number_hash": erasure.number_hash,
        "callbacks_erased": erasure.callbacks,
        "carrier_records_erased": erasure.calls,
        "requested_at": _text(erasure.requested_at),
        "erased_at": _text(erasure.erased_at),
        "finished_at": _text(erasure.finished_at),
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
        "dialed_at": _text(leg.dialed_at),
        "ringing_at": _text(leg.ringing_at),
        "answered_at": _text(leg.answered_at),
        "joined_at": _text(leg.joined_at),
        "ended_at": _text(leg.ended_at),
        "seconds": leg.seconds,
    }


def _text(at: datetime | None) -> str | None:
    return to_text(at) if at else None
