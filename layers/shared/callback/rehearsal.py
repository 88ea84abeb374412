"""POST with dry_run: who would be called, and what it may cost; or why not."""

from typing import Any

from callback import creation, http, plan
from callback.admission import Admitted, Party
from callback.amounts import decimal
from callback.intake import Intake
from callback.models import Leg, LegName, Step
from callback.policy import Policy, shown
from callback.schema import CallbackRequest


def of(intake: Intake, tenant: str, request: CallbackRequest) -> http.Answer:
    """What `Intake.post` would do, or its refusal: nothing is stored, counted or dialed."""
    planned = creation.planned(tenant, request, intake.retention)
    admitted = creation.admit(intake.store, intake.admission, planned)
    if not request.allow_parallel:
        intake.store.pairs.refuse_taken(admitted.callback)
    policy = intake.admission.policies.standing(tenant).policy
    return http.json_reply(200, _shown(admitted, policy), admitted.headers)


def _shown(admitted: Admitted, policy: Policy) -> dict[str, Any]:
    """Who would be called in which order, and what that may cost at most."""
    callback, held = admitted.callback, admitted.callback.reservation
    by_name = dict(zip(LegName, zip(admitted.parties, admitted.zones, strict=True), strict=True))
    return {
        "dry_run": True,
        "order": callback.order,
        "calls": [
            _rehearsed(callback.leg(name), *by_name[name], policy, step)
            for step in Step
            for name in plan.of_step(callback, step)
        ],
        "estimated_maximum_cost": held and _money(held.micros, held.currency),
    }


def _rehearsed(
    leg: Leg, party: Party, zones: tuple[str, ...] | None, policy: Policy, step: Step
) -> dict[str, Any]:
    return {
        "leg": party.name,
        "step": step,
        "to": leg.to,
        "from": leg.caller_id,
        "region": party.destination.region,
        "type": party.destination.kind,
        "calling_window": None
        if zones is None
        else {"hours": shown(policy)["calling_window"], "zones": list(zones)},
        "ring_timeout_seconds": leg.ring_timeout_seconds,
        "billed_seconds_at_most": party.seconds,
        "price_per_minute": decimal(party.per_minute),
    }


def _money(micros: int, currency: str) -> dict[str, str]:
    return {"amount": decimal(micros), "currency": currency}
