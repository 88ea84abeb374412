"""What accepting a callback takes, for API requests and for triggers alike."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from callback.admission.admission import Admission
from callback.call_control.steps import CallControl
from callback.lifecycle.models import Source
from callback.numbering.destinations import DialPlan
from callback.requests import idempotency
from callback.requests.idempotency import Responses
from callback.storage.idempotency_keys import Key
from callback.storage.intake import IntakeStore
from callback.storage.waiting_line import WaitingLine

if TYPE_CHECKING:
    from callback.requests.schema import CallbackRequest


class Requested(NamedTuple):
    """A tenant's request for a callback, and its source."""

    tenant: str
    source: Source
    request: "CallbackRequest"


@dataclass(frozen=True)
class Intake:
    """The collaborators that accepting a callback needs.

    `responses` is the API's rendering. `retention_days` is how long a callback is stored.
    """

    store: IntakeStore
    control: CallControl
    admission: Admission
    responses: Responses
    retention_days: int

    @property
    def line(self) -> WaitingLine:
        return WaitingLine(self.store)

    @property
    def dial_plan(self) -> DialPlan:
        return self.admission.dial_plan

    @property
    def retention(self) -> timedelta:
        return timedelta(days=self.retention_days)

    def key_of(
        self, requested: Requested, text: str | None, *, required: bool = False
    ) -> Key | None:
        """`required`: for every tenant. Raises the refusals of `idempotency.key_of`."""
        policy = self.admission.policies.standing(requested.tenant).policy
        return idempotency.key_of(
            text, requested.request, required=required or policy.require_idempotency_key
        )
