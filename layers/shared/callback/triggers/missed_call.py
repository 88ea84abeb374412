"""A call to a tenant's number is turned away unanswered, and called back.

The caller's number is whatever the caller says it is, and one ring costs nothing: without rules
this would call any number in the world for anybody ("Wangiri"). So: a plain telephone of the same
country, not withheld, not known to be false, not one of our own, and once a day at most.
"""

from dataclasses import dataclass
from datetime import timedelta

from aws_lambda_powertools import Logger

from callback.carrier.reports import InboundCall
from callback.lifecycle.models import Source
from callback.numbering import phone_numbers
from callback.tenancy.numbers import NumberStore, TenantNumber
from callback.tenancy.suppression import SuppressionList
from callback.triggers.queue import TriggerQueue
from callback.triggers.throttle import Throttle

logger = Logger(child=True)

_EVERY = timedelta(hours=24)

# The inbound call ends when our answer has been heard; until then its line is busy.
_LINE_IS_FREE_AFTER_SECONDS = 5


@dataclass(frozen=True)
class MissedCallTrigger:
    numbers: NumberStore
    suppressed: SuppressionList
    throttle: Throttle
    queue: TriggerQueue
    home_region: str

    def arrived(self, call: InboundCall) -> None:
        """Ask for a callback to who is calling, or log why not.

        Durable once this returns. The same call again changes nothing.
        """
        number = self.numbers.get(call.called)
        if number is None or not number.owned or number.missed_call_to is None:
            logger.warning("a call to a number that calls nobody back")
            return
        refused = _refused(number, call, self.home_region)
        refused = refused or self._refused_by_what_we_know(number, call)
        if refused:
            logger.warning("missed call not called back", reason=refused, tenant=number.tenant)
            return
        self.queue.put(
            f"call_{call.call_sid}",
            Source.MISSED_CALL,
            {
                "tenant": number.tenant,
                "leg_A": {"to": call.caller, "from": number.number},
                "leg_B": {"to": number.missed_call_to, "from": number.number},
            },
            after_seconds=_LINE_IS_FREE_AFTER_SECONDS,
        )

    def _refused_by_what_we_know(self, number: TenantNumber, call: InboundCall) -> str | None:
        """Why this caller is not called back, as our rows tell."""
        caller = call.caller
        if self.numbers.get(caller):
            return "our_own"
        if self.suppressed.contains(number.tenant, caller):
            return "suppressed"
        if not self.throttle.allow_once(
            number.tenant, "missed_call", caller, _EVERY, by=call.call_sid
        ):
            return "called_back_lately"
        return None


def _refused(number: TenantNumber, call: InboundCall, home_region: str) -> str | None:
    """Why this caller is not called back, as far as the call itself tells."""
    caller = call.caller
    if not phone_numbers.is_e164(caller):  # empty, or a word such as "anonymous"
        return "withheld"
    if call.is_spoofed:
        return "not_verified"
    if caller in (number.number, number.missed_call_to):
        return "same_party"
    if not phone_numbers.is_plain(caller):
        return "not_a_plain_number"
    if phone_numbers.region(caller) not in (home_region, phone_numbers.region(number.number)):
        return "foreign"
    return None
