"""What every trigger ends in: the same create as the API's, once for each trigger."""

from dataclasses import dataclass

from aws_lambda_powertools import Logger

from callback.errors import CallbackError, RequestInProgress
from callback.requests import idempotent, schema
from callback.requests.intake import Intake, Requested
from callback.requests.schema import TriggerRequest
from callback.tenancy.suppression import SuppressionList
from callback.tenancy.tenants import NoSuchTenant, TenantStore
from callback.triggers.queue import Trigger, TriggerStore

logger = Logger(child=True)


@dataclass(frozen=True)
class QueuedTriggers:
    """Triggers that wait in the queue to be accepted, and what it takes to accept them."""

    triggers: TriggerStore
    tenants: TenantStore
    suppressed: SuppressionList
    intake: Intake

    def accept(self, trigger_id: str) -> None:
        """Take a trigger from the queue. A refusal is final: it is logged by its code and dropped.
        So is the trigger of a party who has said STOP since.

        Raises InvalidRequest, BodyNotJson and NoSuchTenant for a trigger that a person must look
        at, and what may go better the next time.
        """
        trigger = self.triggers.get(trigger_id)
        if trigger is None:
            return
        request = self._request_of(trigger)
        if self._is_suppressed(request):
            logger.warning("trigger refused", source=trigger.source, code="suppressed")
            self.triggers.forget(trigger_id)
            return
        try:
            requested = Requested(request.tenant, trigger.source, request)
            callback_id = idempotent.take(self.intake, requested, trigger_id)
        except CallbackError as refused:
            if refused.status >= 500 or isinstance(refused, RequestInProgress):
                raise
            logger.warning("trigger refused", source=trigger.source, code=refused.code)
        else:
            logger.info("trigger accepted", source=trigger.source, callback_id=callback_id)
        self.triggers.forget(trigger_id)

    def _request_of(self, trigger: Trigger) -> TriggerRequest:
        plan = self.intake.dial_plan
        try:
            request = schema.parse_trigger(
                trigger.body, home_region=plan.home_region, sip_domain=plan.sip_domain
            )
            self.tenants.require(request.tenant)
        except (CallbackError, NoSuchTenant) as wrong:
            logger.error("trigger is not valid", source=trigger.source, error=type(wrong).__name__)
            raise
        return request

    def _is_suppressed(self, request: TriggerRequest) -> bool:
        legs = (request.leg_a, request.leg_b)
        return any(self.suppressed.contains(request.tenant, leg.to) for leg in legs)
