"""Where a request for a callback is taken, whether a client, a text, a call or an event asks."""

from dataclasses import dataclass
from datetime import timedelta

from callback import idempotency
from callback.admission import Admission
from callback.control import CallControl
from callback.destinations import DialPlan
from callback.idempotency import Responses
from callback.idempotency_store import Key
from callback.intake_store import IntakeStore
from callback.models import Source
from callback.schema import CallbackRequest


@dataclass(frozen=True)
class Requested:
    """A tenant's request for a callback, and the way it came."""

    tenant: str
    source: Source
    request: CallbackRequest


@dataclass(frozen=True)
class Intake:
    """What it takes to accept a callback. `responses` is the API's rendering, `retention_days` is
    how long a callback is kept."""

    store: IntakeStore
    control: CallControl
    admission: Admission
    responses: Responses
    retention_days: int

    @property
    def dial_plan(self) -> DialPlan:
        return self.admission.dial_plan

    @property
    def retention(self) -> timedelta:
        return timedelta(days=self.retention_days)

    def key_of(
        self, requested: Requested, text: str | None, *, required: bool = False
    ) -> Key | None:
        """`required`: of every tenant. Raises what `idempotency.key_of` does."""
        policy = self.admission.policies.standing(requested.tenant).policy
        return idempotency.key_of(
            text, requested.request, required=required or policy.require_idempotency_key
        )
