"""A call to a tenant's number is turned away unanswered, and called back.

The caller's number is whatever the caller says it is, and one ring costs nothing: without rules
this would call any number in the world for anybody ("Wangiri"). So: a plain telephone of the same
country, not withheld, not known to be false, not one of our own, and once a day at most.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from aws_lambda_powertools import Logger

from callback import numbering
from callback.models import Source
from callback.numbers import NumberStore, TenantNumber
from callback.once import Once
from callback.suppression import SuppressionList
from callback.trigger_queue import TriggerQueue

logger = Logger(child=True)

# What Twilio sends where the caller's number is withheld: words, and words spelled on a telephone's
# keys (Twilio help 223179988, "Why am I getting calls from these strange numbers?"). The words are
# no numbers, and neither is what follows, but not to every library.
WITHHELD = frozenset(
    {
        "+266696687",  # ANONYMOUS
        "+7378742883",  # RESTRICTED
        "+17378742883",
        "+7378742833",
        "+17378742833",
        "+2562533",  # BLOCKED
        "+8656696",  # UNKNOWN
        "+86282452253",  # UNAVAILABLE
    }
)

# How the caller's network vouched for the number, where it did: StirVerstat is one of
# TN-Validation-Passed-A, -B or -C, the same with Failed, TN-Validation-Failed, No-TN-Validation
# (Twilio docs, "Trusted calling with SHAKEN/STIR"). Most calls in the world have none.
_FALSE = "TN-Validation-Failed"

_EVERY = timedelta(hours=24)

# The inbound call ends when our answer has been heard; until then its line is busy.
_LINE_IS_FREE_AFTER_SECONDS = 5


@dataclass(frozen=True)
class MissedCallTrigger:
    numbers: NumberStore
    suppressed: SuppressionList
    once: Once
    queue: TriggerQueue
    home_region: str

    def arrived(self, form: Mapping[str, str]) -> None:
        """Ask for a callback to who is calling, or log why not. `form`: Twilio's, of an inbound
        call.

        Durable once this returns. The same call again changes nothing.
        """
        number = self.numbers.get(form.get("To", ""))
        if number is None or not number.owned or number.missed_call_to is None:
            logger.warning("a call to a number that calls nobody back")
            return
        caller = form.get("From", "")
        refused = _refused(number, caller, form.get("StirVerstat", ""), self.home_region)
        refused = refused or self._refused_by_what_we_know(number, caller, form["CallSid"])
        if refused:
            logger.warning("missed call not called back", reason=refused, tenant=number.tenant)
            return
        self.queue.put(
            f"call_{form['CallSid']}",
            Source.MISSED_CALL,
            {
                "tenant": number.tenant,
                "leg_A": {"to": caller, "from": number.number},
                "leg_B": {"to": number.missed_call_to, "from": number.number},
            },
            after_seconds=_LINE_IS_FREE_AFTER_SECONDS,
        )

    def _refused_by_what_we_know(
        self, number: TenantNumber, caller: str, call_sid: str
    ) -> str | None:
        """Why this caller is not called back, as our rows tell."""
        if self.numbers.get(caller):
            return "our_own"
        if self.suppressed.contains(number.tenant, caller):
            return "suppressed"
        if not self.once.may(number.tenant, "missed_call", caller, _EVERY, by=call_sid):
            return "called_back_lately"
        return None


def _refused(number: TenantNumber, caller: str, verstat: str, home_region: str) -> str | None:
    """Why this caller is not called back, as far as the call itself tells."""
    if caller in WITHHELD or not numbering.is_e164(caller):
        return "withheld"
    if verstat.startswith(_FALSE):
        return "not_verified"
    if caller in (number.number, number.missed_call_to):
        return "same_party"
    if not numbering.is_plain(caller):
        return "not_a_plain_number"
    if numbering.region(caller) not in (home_region, numbering.region(number.number)):
        return "foreign"
    return None
