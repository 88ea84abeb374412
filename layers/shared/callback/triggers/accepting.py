"""Turns each queued trigger into a callback, once, by the same create as the API's."""

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
    """Accepts the triggers whose ids are in the queue."""

    triggers: TriggerStore
    tenants: TenantStore
    suppressed: SuppressionList
    intake: Intake

    def accept(self, trigger_id: str) -> None:
        """Create the callback of one trigger, and delete the trigger.

        A refusal is final: its code is logged and the trigger is deleted. The trigger is also
        deleted if one of its parties has opted out.

        The trigger stays where this raises. Raises InvalidRequest, BodyNotJson, BodyTooLarge and
        NoSuchTenant for a trigger that an operator must examine, and any error that a retry may
        mend: RequestInProgress, refusals with a status of 5xx, botocore's errors.
        """
        trigger = self.triggers.get(trigger_id)
        if trigger is None:
            return
        request = self._parse(trigger)
        if self._is_suppressed(request):
            logger.warning("trigger refused", source=trigger.source, code="suppressed")
            self.triggers.delete(trigger_id)
            return
        try:
            requested = Requested(request.tenant, trigger.source, request)
            callback_id = idempotent.take(self.intake, requested, trigger_id)
        except CallbackError as refusal:
            if refusal.status >= 500 or isinstance(refusal, RequestInProgress):
                raise
            logger.warning("trigger refused", source=trigger.source, code=refusal.code)
        else:
            logger.info("trigger accepted", source=trigger.source, callback_id=callback_id)
        self.triggers.delete(trigger_id)

    def _parse(self, trigger: Trigger) -> TriggerRequest:
        plan = self.intake.dial_plan
        try:
            request = schema.parse_trigger(
                trigger.body, home_region=plan.home_region, sip_domain=plan.sip_domain
            )
            self.tenants.require(request.tenant)
        except (CallbackError, NoSuchTenant) as invalid:
            error = type(invalid).__name__
            logger.error("trigger is not valid", source=trigger.source, error=error)
            raise
        return request

    def _is_suppressed(self, request: TriggerRequest) -> bool:
        legs = (request.leg_a, request.leg_b)
        return any(self.suppressed.contains(request.tenant, leg.to) for leg in legs)
