"""Where a request for a callback is taken, whether a client, a text, a call or an event asks."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from callback import idempotency
from callback.admission import Admission
from callback.dialer import Dialer
from callback.idempotency import Key, Responses
from callback.models import Source
from callback.schema import CallbackRequest
from callback.settings import AcceptSettings
from callback.store import CallbackStore
from callback.workflow import Workflow

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from callback.credentials import CredentialStore
    from callback.tenants import Pepper


@dataclass(frozen=True)
class Requested:
    """A tenant's request for a callback, and the way it came."""

    tenant: str
    source: Source
    request: CallbackRequest


@dataclass(frozen=True)
class Intake:
    """What it takes to accept a callback. `home_region` and `sip_domain` are the deployment's,
    `retention` is how long a callback is kept, `responses` is the API's rendering."""

    store: CallbackStore
    dialer: Dialer
    workflow: Workflow
    admission: Admission
    responses: Responses
    home_region: str
    sip_domain: str
    retention: timedelta

    @classmethod
    def of(
        cls,
        settings: AcceptSettings,
        client: "DynamoDBClient",
        credentials: "CredentialStore",
        pepper: "Pepper",
        workflow: Workflow,
        responses: Responses,
    ) -> Self:
        """A function's own, once per cold start."""
        place = {"home_region": settings.home_region, "sip_domain": settings.sip_domain}
        return cls(
            CallbackStore(client, settings.table_name, sip_domain=settings.sip_domain),
            Dialer.of(settings, credentials),
            workflow,
            Admission(client, settings.table_name, pepper, **place),
            responses,
            **place,
            retention=timedelta(days=int(settings.retention_days)),
        )

    def key_of(
        self, requested: Requested, text: str | None, *, required: bool = False
    ) -> Key | None:
        """`required`: of every tenant. Raises what `idempotency.key_of` does."""
        policy = self.admission.policies.standing(requested.tenant).policy
        return idempotency.key_of(
            text, requested.request, required=required or policy.require_idempotency_key
        )
