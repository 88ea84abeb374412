"""Admission control: may this callback be placed? Every entry point asks before it stores anything.

The first of RULES that refuses determines the response. Limits are read here, so that a refusal
costs one read. The transaction that stores the callback decides them (see `counters`), because
only it sees all concurrent requests.
"""

from dataclasses import dataclass, replace

from callback.admission import limits, prices
from callback.admission.case import Case
from callback.admission.limits import LIMIT_REFUSALS, Usage
from callback.admission.party import Party
from callback.admission.rules import RULES, suppression_refusal
from callback.errors import CallbackError
from callback.lifecycle import timing
from callback.lifecycle.models import Callback, LegName, Reservation
from callback.numbering import destinations
from callback.numbering.destinations import Destination, DialPlan
from callback.storage import counters
from callback.storage.counters import Condition
from callback.storage.table import ABSENT, Key, Table, check_row
from callback.tenancy.pepper import Pepper
from callback.tenancy.policy import WhenFull
from callback.tenancy.policy_store import PolicyStore
from callback.tenancy.suppression import SuppressionList

_LAST_DIGITS = 4  # digits of a number that are not part of its prefix


@dataclass(frozen=True)
class Admitted:
    """An admitted callback.

    `callback` has its caller IDs and its `reservation`.
    `conditions` belong into the transaction that stores it, `suppressions` (a part of them) into
    one that stores it as waiting. `is_full`: the tenant's limits have no room for it now, so
    nothing is reserved and it can only wait.
    `headers` report the rest of the tenant's rates.
    `zones`: for each party, the time zones whose calling window applies. None: any hour.
    """

    callback: Callback
    reservation: Reservation
    conditions: tuple[Condition, ...]
    suppressions: tuple[Condition, ...]
    is_full: bool
    headers: dict[str, str]
    parties: tuple[Party, Party]
    zones: tuple[tuple[str, ...] | None, tuple[str, ...] | None]


class Admission:
    """Checks callbacks against the rules. `dial_plan` is the deployment's."""

    def __init__(self, table: Table, pepper: Pepper, dial_plan: DialPlan) -> None:
        self._table = table
        self.policies = PolicyStore(table)
        self._suppression = SuppressionList(table, pepper)
        self._prices = prices.read()
        self.dial_plan = dial_plan

    def admit(self, planned: Callback, *, may_wait: bool = False) -> Admitted:
        """Check a callback that would be placed at its `created_at`. Writes nothing.

        `may_wait`: a tenant's policy may let it wait while limits are full (`when_full`).
        Raises the refusal of the first of RULES that refuses.
        """
        case = self._case(planned)
        is_full = False
        for rule in RULES:
            try:
                rule(case)
            except LIMIT_REFUSALS as refusal:
                is_full = may_wait and case.policy.when_full is WhenFull.WAIT
                if not is_full:
                    raise _with_rates(case, refusal) from None
            except CallbackError as refusal:
                raise _with_rates(case, refusal) from None
        return _admitted(case, is_full)

    def waits_while_full(self, tenant: str) -> bool:
        """Whether the tenant's callbacks wait while its limits are full."""
        return self.policies.standing(tenant).policy.when_full is WhenFull.WAIT

    def waiting_place(self, planned: Callback) -> tuple[list[Condition], int]:
        """The conditions that count the callback as waiting, and the shard that counts it.

        Raises TooManyWaiting.
        """
        policy = self.policies.standing(planned.tenant).policy
        counter = limits.count_waiting(planned.tenant, policy)
        usage = Usage([counter], self._table.read([*counter.first_read.values()]), self._table.read)
        usage.refuse_exceeded()
        (shard,) = usage.shares(counter.key)
        return usage.conditions(), shard

    def _case(self, planned: Callback) -> Case:
        return Case(
            planned=planned,
            standing=self.policies.standing(planned.tenant),
            parties=(self._party(planned, LegName.A), self._party(planned, LegName.B)),
            dial_plan=self.dial_plan,
            currency=self._prices.currency,
            suppression=self._suppression,
            read=self._table.read,
        )

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


def _with_rates(case: Case, refusal: CallbackError) -> CallbackError:
    if case.has_read:  # a refusal costs no read that it did not need
        refusal.headers |= case.usage.rate_headers()
    return refusal


def _admitted(case: Case, is_full: bool) -> Admitted:
    a, b = case.parties
    suppressions = tuple(
        Condition(check_row(key, ABSENT), suppression_refusal(party))
        for key, party in _parties_by_suppression_key(case).items()
    )
    reservation = _reservation(case)
    caller_id_a, caller_id_b = case.caller_ids.shown
    planned = case.planned
    callback = replace(
        planned,
        leg_a=replace(planned.leg_a, caller_id=caller_id_a),
        leg_b=replace(planned.leg_b, caller_id=caller_id_b),
        reservation=reservation,
    )
    return Admitted(
        callback,
        reservation,
        suppressions if is_full else (*case.usage.conditions(), *suppressions),
        suppressions,
        is_full,
        case.usage.rate_headers(taking=0 if is_full else 1),
        case.parties,
        (case.zones(a), case.zones(b)),
    )


def _reservation(case: Case) -> Reservation:
    a, b = case.parties
    day = case.now.date().isoformat()
    at_once_shard = next(iter(case.usage.shares(counters.at_once(case.tenant))), None)
    spent = case.usage.shares(counters.spend(case.tenant, case.currency, day))
    return Reservation(
        day=day,
        currency=case.currency,
        micros=case.limits.maximum_cost,
        per_minute_a=a.per_minute,
        per_minute_b=b.per_minute,
        at_once_shard=at_once_shard or None,
        spend_shares=None if [*spent] == [0] else {str(shard): spent[shard] for shard in spent},
    )


def _parties_by_suppression_key(case: Case) -> dict[Key, Party]:
    """Each row once, because a transaction may check a row only once.

    The parties share a row if one's number is the user of the other's sip: address. The
    refusal then names A.
    """
    return {key: party for party in reversed(case.parties) for key in case.suppression_keys(party)}
