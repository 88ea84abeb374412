"""What every trigger ends in: the same create as the API's, once for each trigger."""

from dataclasses import dataclass
from datetime import timedelta

from aws_lambda_powertools import Logger

from callback import http, idempotency, posting, schema
from callback.admission import Admission
from callback.dialer import Dialer
from callback.errors import CallbackError, RequestInProgress
from callback.models import Source
from callback.schema import CallbackRequest
from callback.store import CallbackStore
from callback.suppression import SuppressionList
from callback.tenants import NoSuchTenant, TenantStore
from callback.trigger_queue import TriggerStore
from callback.workflow import Workflow

logger = Logger(child=True)


@dataclass(frozen=True)
class Intake:
    """Takes a trigger's request and answers as the API would."""

    store: CallbackStore
    dialer: Dialer
    workflow: Workflow
    admission: Admission
    home_region: str
    sip_domain: str
    retention: timedelta

    def take(
        self,
        tenant: str,
        source: Source,
        request: CallbackRequest,
        key: str | None,
        *,
        key_required: bool = False,
    ) -> http.Answer:
        """As `posting.post`, and raises what it and `idempotency.key_of` do; `key` is the
        trigger's own id."""
        policy = self.admission.policies.standing(tenant).policy
        return posting.post(
            self.store,
            self.dialer,
            self.workflow,
            self.admission,
            tenant=tenant,
            request=request,
            retention=self.retention,
            key=idempotency.key_of(
                key, request, required=key_required or policy.require_idempotency_key
            ),
            source=source,
        )


def accept(
    triggers: TriggerStore,
    tenants: TenantStore,
    suppressed: SuppressionList,
    intake: Intake,
    trigger_id: str,
) -> None:
    """Take a trigger from the queue. A refusal is final: it is logged by its code and dropped.
    So is the trigger of a party who has said STOP since.

    Raises InvalidRequest, BodyNotJson and NoSuchTenant for a trigger that a person must look at,
    and what may go better the next time.
    """
    trigger = triggers.get(trigger_id)
    if trigger is None:
        return
    try:
        request = schema.parse_trigger(
            trigger.body, home_region=intake.home_region, sip_domain=intake.sip_domain
        )
        tenants.require(request.tenant)
    except (CallbackError, NoSuchTenant) as wrong:
        logger.error("trigger is not valid", source=trigger.source, error=type(wrong).__name__)
        raise
    if any(suppressed.contains(request.tenant, leg.to) for leg in (request.leg_a, request.leg_b)):
        logger.warning("trigger refused", source=trigger.source, code="suppressed")
        triggers.forget(trigger_id)
        return
    try:
        answer = intake.take(request.tenant, trigger.source, request, trigger_id)
    except CallbackError as refused:
        if refused.status >= 500 or isinstance(refused, RequestInProgress):
            raise
        logger.warning("trigger refused", source=trigger.source, code=refused.code)
    else:
        logger.info("trigger accepted", source=trigger.source, status=answer["statusCode"])
    triggers.forget(trigger_id)
