"""A callback to decide, with the inputs of the rules."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from callback.admission.caller_ids import CallerIds, NumberOwners
from callback.admission.limits import Limits, Usage
from callback.admission.party import Party
from callback.lifecycle.models import Callback
from callback.numbering import addresses, phone_numbers
from callback.numbering.destinations import DialPlan, Telephone
from callback.storage import counters
from callback.storage.table import Key, Row
from callback.tenancy import numbers
from callback.tenancy.policy import Policy, Standing
from callback.tenancy.suppression import SuppressionList
from callback.webhooks import endpoints


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """The first rule that needs `rows` reads them. `currency` is the price table's."""

    planned: Callback
    standing: Standing
    parties: tuple[Party, Party]
    dial_plan: DialPlan
    currency: str
    suppression: SuppressionList
    read: Callable[[list[Key]], dict[Key, Row]]

    @property
    def tenant(self) -> str:
        return self.planned.tenant

    @property
    def now(self) -> datetime:
        return self.planned.created_at

    @property
    def policy(self) -> Policy:
        return self.standing.policy

    @cached_property
    def rows(self) -> dict[Key, Row]:
        """Every row that a rule may need, by its key. One batch of reads."""
        keys = [numbers.key(number) for number in self._numbers()]
        keys += [key for party in self.parties for key in self.suppression_keys(party)]
        keys += [key for each in self.limits.counters for key in each.first_read.values()]
        if self.planned.webhook:
            keys.append(endpoints.key(self.tenant))
        return self.read(keys)

    @property
    def has_read(self) -> bool:
        """Whether a rule has read `rows`."""
        return "rows" in self.__dict__

    @cached_property
    def owners(self) -> NumberOwners:
        return NumberOwners(self.tenant, self.rows)

    @cached_property
    def caller_ids(self) -> CallerIds:
        return CallerIds(self.parties, self.policy, self.owners, self.dial_plan.home_region)

    @cached_property
    def limits(self) -> Limits:
        return Limits(self.planned, self.policy, self.parties, self.currency)

    @cached_property
    def usage(self) -> Usage:
        """The use of the limits. Calls to the tenant's own people are not counted."""
        exempt = {party.name for party in self.parties if self.owners.is_own_person(party)}
        counted = (each for each in self.limits.counters if each.leg not in exempt)
        return Usage(counters.merge_counters(counted), self.rows, self.read)

    def telephones(self) -> Iterator[tuple[Party, Telephone]]:
        """Each telephone that may ring, with its party."""
        for party in self.parties:
            for telephone in party.destination.telephones:
                yield party, telephone

    def _numbers(self) -> Iterator[str]:
        for party in self.parties:
            yield from party.numbers
            yield from phone_numbers.telephones(party.leg.caller_id, self.dial_plan.home_region)
        if self.policy.fallback_caller_id:
            yield self.policy.fallback_caller_id

    def suppression_keys(self, party: Party) -> list[Key]:
        """The row for each notation of the party, and for each telephone that it may reach."""
        to = party.leg.to
        return self.suppression.keys(
            self.tenant,
            to,
            addresses.dial_target(to, self.dial_plan.sip_domain),
            addresses.user_part(to),
            home=self.dial_plan.home_region,
        )

    def zones(self, party: Party) -> tuple[str, ...] | None:
        """The time zones whose calling window applies to the party. None: any hour."""
        if self.policy.calling_window is None or self.owners.is_own_person(party):
            return None
        if party.destination.is_telephone:
            return party.destination.zones
        return (self.policy.pbx_zone,) if self.policy.pbx_zone else None
