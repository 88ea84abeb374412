"""Missed calls: a call to a tenant's number is rejected unanswered, and its caller is called back.

A caller ID is unverified input, and one ring costs nothing. Without restrictions anybody could make
this service call any number in the world ("Wangiri"). So a caller is called back only if the number
is a fixed line or mobile of the same country, neither withheld nor marked as false, not one of our
own, and at most once a day.
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

# The caller's line is busy until the rejection has reached it.
_LINE_IS_FREE_AFTER_SECONDS = 5


@dataclass(frozen=True)
class MissedCallTrigger:
    numbers: NumberStore
    suppressed: SuppressionList
    throttle: Throttle
    queue: TriggerQueue
    home_region: str

    def handle(self, call: InboundCall) -> None:
        """Queue a callback to the caller, or log why there is none.

        Durable once this returns. A repetition of the same call changes nothing.
        """
        number = self.numbers.get(call.called)
        if number is None or not number.owned or number.missed_call_to is None:
            logger.warning("call to a number without missed-call callbacks")
            return
        reason = _refusal_from_call(number, call, self.home_region)
        reason = reason or self._refusal_from_rows(number, call)
        if reason:
            logger.warning("missed call not called back", reason=reason, tenant=number.tenant)
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

    def _refusal_from_rows(self, number: TenantNumber, call: InboundCall) -> str | None:
        """Why our rows forbid to call this caller back."""
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


def _refusal_from_call(number: TenantNumber, call: InboundCall, home_region: str) -> str | None:
    """Why the call itself forbids to call its caller back."""
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
