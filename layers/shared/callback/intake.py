"""Where a request for a callback is taken, whether a client, a text, a call or an event asks."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from callback import http, idempotency, posting
from callback.admission import Admission
from callback.dialer import Dialer
from callback.idempotency import Key
from callback.intake_store import IntakeStore
from callback.models import Source
from callback.schema import CallbackRequest
from callback.settings import AcceptSettings
from callback.table import Table
from callback.workflow import Workflow

if TYPE_CHECKING:
    from callback.credentials import CredentialStore
    from callback.tenants import Pepper


@dataclass(frozen=True)
class Intake:
    """What it takes to accept a callback. `home_region` and `sip_domain` are the deployment's,
    `retention` is how long a callback is kept."""

    store: IntakeStore
    dialer: Dialer
    workflow: Workflow
    admission: Admission
    home_region: str
    sip_domain: str
    retention: timedelta

    @classmethod
    def of(
        cls,
        settings: AcceptSettings,
        table: Table,
        credentials: "CredentialStore",
        pepper: "Pepper",
        workflow: Workflow,
    ) -> Self:
        """A function's own, once per cold start."""
        place = {"home_region": settings.home_region, "sip_domain": settings.sip_domain}
        return cls(
            IntakeStore(table, sip_domain=settings.sip_domain),
            Dialer.of(settings, credentials),
            workflow,
            Admission(table, pepper, **place),
            **place,
            retention=timedelta(days=int(settings.retention_days)),
        )

    def key_of(
        self, tenant: str, request: CallbackRequest, text: str | None, *, required: bool
    ) -> Key | None:
        """`required`: of every tenant. Raises what `idempotency.key_of` does."""
        policy = self.admission.policies.standing(tenant).policy
        return idempotency.key_of(
            text, request, required=required or policy.require_idempotency_key
        )

    def post(
        self, tenant: str, source: Source, request: CallbackRequest, key: Key | None
    ) -> http.Answer:
        """As `posting.post`, and raises what it does."""
        return posting.post(
            self.store,
            self.dialer,
            self.workflow,
            self.admission,
            tenant=tenant,
            request=request,
            retention=self.retention,
            key=key,
            source=source,
        )

    def take(
        self,
        tenant: str,
        source: Source,
        request: CallbackRequest,
        key: str | None,
        *,
        key_required: bool = False,
    ) -> http.Answer:
        """`post` with the key that came with the request: a trigger's own id."""
        return self.post(
            tenant, source, request, self.key_of(tenant, request, key, required=key_required)
        )
