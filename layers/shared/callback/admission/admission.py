"""Admission control: may this callback be placed? Every entry point asks before it stores anything.

The first of RULES that refuses determines the response. Limits are read here, so that a refusal
costs one read. The transaction that stores the callback decides them (see `counters`), because
only it sees all concurrent requests.
"""

from callback.admission import prices
from callback.admission.case import Admitted, Case
from callback.admission.party import Party
from callback.admission.rules import RULES
from callback.errors import CallbackError
from callback.lifecycle import timing
from callback.lifecycle.models import Callback, LegName
from callback.numbering import destinations
from callback.numbering.destinations import Destination, DialPlan
from callback.storage.table import Table
from callback.tenancy.pepper import Pepper
from callback.tenancy.policy_store import PolicyStore
from callback.tenancy.suppression import SuppressionList

_LAST_DIGITS = 4  # digits of a number that are not part of its prefix


class Admission:
    """Checks callbacks against the rules. `dial_plan` is the deployment's."""

    def __init__(self, table: Table, pepper: Pepper, dial_plan: DialPlan) -> None:
        self._table = table
        self.policies = PolicyStore(table)
        self._suppression = SuppressionList(table, pepper)
        self._prices = prices.read()
        self.dial_plan = dial_plan

    def admit(self, planned: Callback) -> Admitted:
        """Check a callback that is not stored yet. Writes nothing.

        Raises the refusal of the first of RULES that refuses.
        """
        case = Case(
            planned=planned,
            standing=self.policies.standing(planned.tenant),
            parties=(self._party(planned, LegName.A), self._party(planned, LegName.B)),
            home_region=self.dial_plan.home_region,
            sip_domain=self.dial_plan.sip_domain,
            currency=self._prices.currency,
            suppression=self._suppression,
            read=self._table.read,
        )
        for rule in RULES:
            try:
                rule(case)
            except CallbackError as refusal:
                refusal.headers |= case.rate_headers_if_read()
                raise
        return case.admitted()

    def may_ever_call(self, tenant: str, number: str) -> bool:
        """Whether the policy allows the region and the type of an E.164 number."""
        policy = self.policies.standing(tenant).policy
        telephone = destinations.telephone(number)
        regions = policy.regions(self.dial_plan.home_region)
        return telephone.region in regions and telephone.type in policy.allowed_types

    def _party(self, planned: Callback, name: LegName) -> Party:
        leg = planned.leg(name)
        destination = destinations.find_destination(leg.to, self.dial_plan.home_region)
        return Party(
            name,
            leg,
            destination,
            per_minute=self._maximum_price(destination),
            seconds=int(timing.time_limit(planned, name).total_seconds()),
            hashes={
                "number": self._suppression.hash_address(destination.number),
                "prefix": self._suppression.hash_address(destination.number[:-_LAST_DIGITS]),
            },
        )

    def _maximum_price(self, destination: Destination) -> int:
        """The highest price per minute of the telephones that may ring."""
        telephones = destination.telephones
        return max(
            (self._prices.per_minute(each.region, each.type) for each in telephones),
            default=self._prices.pbx,
        )
