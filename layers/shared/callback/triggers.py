"""What every trigger ends in: the same create as the API's, once for each trigger."""

from aws_lambda_powertools import Logger

from callback import posting, schema
from callback.errors import CallbackError, RequestInProgress
from callback.intake import Intake, Requested
from callback.suppression import SuppressionList
from callback.tenants import NoSuchTenant, TenantStore
from callback.trigger_queue import TriggerStore

logger = Logger(child=True)


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
        requested = Requested(request.tenant, trigger.source, request)
        callback_id = posting.take(intake, requested, trigger_id)
    except CallbackError as refused:
        if refused.status >= 500 or isinstance(refused, RequestInProgress):
            raise
        logger.warning("trigger refused", source=trigger.source, code=refused.code)
    else:
        logger.info("trigger accepted", source=trigger.source, callback_id=callback_id)
    triggers.forget(trigger_id)
