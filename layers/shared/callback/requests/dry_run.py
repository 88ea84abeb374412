"""POST with dry_run: which calls would be made and their maximum cost, or the refusal."""

from typing import TYPE_CHECKING, Any, NamedTuple

from callback.admission.admission import Admitted
from callback.admission.party import Party
from callback.amounts import decimal
from callback.lifecycle import timing
from callback.lifecycle.models import Callback, Leg, LegName, Reservation, Step
from callback.requests import creation
from callback.requests.intake import Intake, Requested
from callback.tenancy.policy_text import format_policy

if TYPE_CHECKING:  # no function but the document's needs the types
    from callback.requests.record import CostView, RehearsalView, RehearsedCallView


class Rehearsed(NamedTuple):
    """A call that would be made. `zones`: the calling window's time zones; None at any hour."""

    step: Step
    leg: Leg
    party: Party
    zones: tuple[str, ...] | None


class Rehearsal(NamedTuple):
    """What `idempotent.post` would do.

    `calls` are in dialing order. `calling_window` is the tenant's. `rates` are headers.
    """

    callback: Callback
    reservation: Reservation
    calls: tuple[Rehearsed, ...]
    calling_window: Any
    rates: dict[str, str]


def rehearse(intake: Intake, requested: Requested) -> Rehearsal:
    """What `idempotent.post` would do. Raises its refusals. Stores, counts and dials nothing."""
    planned = creation.plan(requested.tenant, requested.request, intake.retention, requested.source)
    admitted = creation.admit(intake, planned)
    if not requested.request.allow_parallel:
        intake.store.pairs.refuse_taken(admitted.callback)
    policy = intake.admission.policies.standing(requested.tenant).policy
    return Rehearsal(
        admitted.callback,
        admitted.reservation,
        _calls(admitted),
        format_policy(policy)["calling_window"],
        admitted.headers,
    )


def _calls(admitted: Admitted) -> tuple[Rehearsed, ...]:
    callback = admitted.callback
    by_name = dict(zip(LegName, zip(admitted.parties, admitted.zones, strict=True), strict=True))
    return tuple(
        Rehearsed(step, callback.leg(name), *by_name[name])
        for step in Step
        for name in timing.legs_of_step(callback, step)
    )


def rehearsal_view(rehearsal: Rehearsal) -> "RehearsalView":
    """The dry run as clients see it: the calls in dialing order and their maximum cost."""
    return {
        "dry_run": True,
        "order": rehearsal.callback.order,
        "calls": [_call_view(call, rehearsal.calling_window) for call in rehearsal.calls],
        "estimated_maximum_cost": _cost_view(rehearsal.reservation),
    }


def _call_view(call: Rehearsed, calling_window: Any) -> "RehearsedCallView":
    leg, party, zones = call.leg, call.party, call.zones
    return {
        "leg": party.name,
        "step": call.step,
        "to": leg.to,
        "from": leg.caller_id,
        "region": party.destination.region,
        "type": party.destination.kind,
        "calling_window": None
        if zones is None
        else {"hours": calling_window, "zones": list(zones)},
        "ring_timeout_seconds": leg.ring_timeout_seconds,
        "billed_seconds_at_most": party.seconds,
        "price_per_minute": decimal(party.per_minute),
    }


def _cost_view(reservation: Reservation) -> "CostView":
    return {"amount": decimal(reservation.micros), "currency": reservation.currency}
