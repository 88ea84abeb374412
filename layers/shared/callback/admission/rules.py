"""Admission control: may this callback be placed? Every entry point asks before it stores anything.

RULES lists the checks in order. The first rule that refuses determines the response.
Limits are read here, so that a refusal costs one read. The transaction that stores the callback
decides them (see `counters`), because only it sees all concurrent requests.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from callback import errors
from callback.admission import calling_window, prices
from callback.amounts import Rate, decimal
from callback.errors import CallbackError
from callback.lifecycle import timing
from callback.lifecycle.models import Callback, Leg, LegName, Reservation, maybe_text, to_text
from callback.numbering import addresses, destinations, emergency, phone_numbers
from callback.numbering.destinations import Destination, DialPlan, Telephone
from callback.storage import counters
from callback.storage.counters import Condition, Counter
from callback.storage.table import ABSENT, Key, Row, Table, check_row
from callback.tenancy import numbers
from callback.tenancy.numbers import TenantNumber
from callback.tenancy.policy import Policy, PolicyStore, Standing
from callback.tenancy.suppression import SuppressionList
from callback.tenancy.tenants import Pepper
from callback.webhooks import endpoints

_LAST_DIGITS = 4  # digits of a number that are not part of its prefix

# Seconds for Retry-After. Estimates: nobody can know when a kill switch is turned off, or when a
# conversation ends.
_SWITCH_RETRY, _AT_ONCE_RETRY = 60, 10


@dataclass(frozen=True)
class Party:
    """A party to call. `leg.caller_id` is empty if the client requested none.

    `per_minute`: the maximum price, in millionths of the price table's currency.
    `seconds`: how long the carrier lets the call last at most.
    `hashes`: of its "number" and "prefix", because a counter's row must not contain them.
    """

    name: LegName
    leg: Leg
    destination: Destination
    per_minute: int
    seconds: int
    hashes: dict[str, str]

    @property
    def numbers(self) -> list[str]:
        """E.164 of each telephone that may ring. Empty for an extension or a name at a PBX."""
        return [telephone.number for telephone in self.destination.telephones]

    @property
    def maximum_cost(self) -> int:
        return counters.cost(self.seconds, self.per_minute)


@dataclass(frozen=True)
class Admitted:
    """An admitted callback.

    `callback` has its caller IDs and its `reservation`.
    `conditions` belong into the transaction that stores it.
    `headers` report the rest of the tenant's rates.
    `zones`: for each party, the time zones whose calling window applies. None: any hour.
    """

    callback: Callback
    reservation: Reservation
    conditions: tuple[Condition, ...]
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A callback to decide, with the rules' inputs. The first rule that needs `rows` reads them."""

    planned: Callback
    standing: Standing
    parties: tuple[Party, Party]
    home_region: str
    sip_domain: str
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
        keys += [counter.key for counter in self._countable()]
        if self.planned.webhook:
            keys.append(endpoints.key(self.tenant))
        return self.read(keys)

    def telephones(self) -> Iterator[tuple[Party, Telephone]]:
        """Each telephone that may ring, with its party."""
        for party in self.parties:
            for telephone in party.destination.telephones:
                yield party, telephone

    def _numbers(self) -> Iterator[str]:
        for party in self.parties:
            yield from party.numbers
            yield from phone_numbers.telephones(party.leg.caller_id, self.home_region)
        if self.policy.fallback_caller_id:
            yield self.policy.fallback_caller_id

    def owner(self, number: str) -> TenantNumber | None:
        row = self.rows.get(numbers.key(number))
        return numbers.from_row(row) if row else None

    def belongs_to_tenant(self, number: str) -> bool:
        """Whether the tenant has it: its own at the carrier, or a verified caller ID."""
        owner = self.owner(number)
        return owner is not None and owner.tenant == self.tenant

    def suppression_keys(self, party: Party) -> list[Key]:
        """The row for each notation of the party, and for each telephone that it may reach."""
        to = party.leg.to
        return self.suppression.keys(
            self.tenant,
            to,
            addresses.dial_target(to, self.sip_domain),
            addresses.user_part(to),
            home=self.home_region,
        )

    # -- caller IDs --------------------------------------------------------------------------------

    @cached_property
    def caller_ids(self) -> tuple[str, str]:
        """The caller IDs shown to A and to B. Raises CallerIdNotAllowed."""
        a, b = self.parties
        return self._caller_id(a, b), self._caller_id(b, a)

    def _caller_id(self, party: Party, other: Party) -> str:
        requested, fallback = party.leg.caller_id, self.policy.fallback_caller_id
        if requested:
            if self._may_show(requested, party):
                return requested
            raise errors.CallerIdNotAllowed(
                f"leg_{party.name}.from must be a number of yours, owned or verified. Omit it, or"
                f" ask your operator to run `put-number {self.tenant} <number>`.",
                leg=party.name,
            )
        if self._may_show(other.leg.to, party):
            return other.leg.to
        if fallback and self.belongs_to_tenant(fallback):
            return fallback
        raise errors.CallerIdNotAllowed(
            f"There is no caller ID for leg_{party.name}. Set leg_{party.name}.from to a number of"
            f" yours, or ask your operator to run `put-number {self.tenant} <number>` and"
            f" `set-policy {self.tenant} fallback_caller_id=<number>`.",
            leg=party.name,
        )

    def _may_show(self, address: str, party: Party) -> bool:
        # The carrier shows only telephone numbers to a telephone (Twilio error 21212).
        # A PBX also shows its own extensions.
        if addresses.is_number(party.leg.to) and not addresses.is_number(
            addresses.user_part(address)
        ):
            return False
        numbers = phone_numbers.telephones(address, self.home_region)
        if numbers:
            return all(map(self.belongs_to_tenant, numbers))
        return self.policy.any_caller_id_extension and not party.destination.is_telephone

    # -- calling window ----------------------------------------------------------------------------

    def zones(self, party: Party) -> tuple[str, ...] | None:
        """The time zones whose calling window applies to the party. None: any hour."""
        if self.policy.calling_window is None or self._is_own_person(party):
            return None
        if party.destination.is_telephone:
            return party.destination.zones
        return (self.policy.pbx_zone,) if self.policy.pbx_zone else None

    def _is_own_person(self, party: Party) -> bool:
        """Whether the tenant's own people answer: each telephone that may ring is the tenant's."""
        return party.destination.is_telephone and all(map(self.belongs_to_tenant, party.numbers))

    # -- limits ------------------------------------------------------------------------------------

    @cached_property
    def maximum_cost(self) -> int:
        return sum(party.maximum_cost for party in self.parties)

    @cached_property
    def counters(self) -> list["_Counter"]:
        """The counters that this callback raises. The tenant's own people are not counted."""
        exempt = {party.name for party in self.parties if self._is_own_person(party)}
        return counters.merge_counters(c for c in self._countable() if c.leg not in exempt)

    def used(self, counter: Counter) -> int:
        return int(self.rows.get(counter.key, {}).get("used", 0))

    def _countable(self) -> Iterator["_Counter"]:
        yield _Counter(
            key=counters.at_once(self.tenant),
            amount=1,
            limit=self.policy.concurrent_callbacks,
            refusal=errors.TooManyAtOnce(
                f"At most {self.policy.concurrent_callbacks} callbacks may be open at once. Wait"
                " until one has ended.",
                headers={"Retry-After": str(_AT_ONCE_RETRY)},
            ),
        )
        yield from self._rates("tenant", self.policy.calls_per_tenant, errors.TooManyCallbacks)
        for party in self.parties:
            if party.destination.is_telephone:
                numbers, prefixes = self.policy.calls_per_number, self.policy.calls_per_prefix
                yield from self._rates("number", numbers, errors.TooManyCallsToNumber, party)
                yield from self._rates("prefix", prefixes, errors.TooManyCallsToPrefix, party)
        yield self._spend()

    def _rates(
        self,
        name: str,
        rates: tuple[Rate, ...],
        refusal: type[CallbackError],
        party: Party | None = None,
    ) -> Iterator["_Counter"]:
        whose = party.hashes[name] if party else ""
        for rate in rates:
            _, ends = counters.window(rate, self.now)
            seconds = _seconds_until(ends, self.now)
            members = {"leg": party.name} if party else {}
            yield _Counter(
                key=counters.calls(self.tenant, f"{name}#{whose}", rate, self.now),
                amount=1,
                limit=rate.count,
                refusal=refusal(
                    f"At most {rate.count} are allowed in {rate.seconds} s. Wait {seconds} s.",
                    headers={"Retry-After": str(seconds)},
                    **members,
                ),
                until=ends + timedelta(days=1),
                rate=(f"{name}-{rate.seconds}", rate, seconds),
                leg=party.name if party else None,
            )

    def _spend(self) -> "_Counter":
        cap, day = self.policy.daily_spend, self.now.date().isoformat()
        return _Counter(
            key=counters.spend(self.tenant, self.currency, day),
            amount=self.maximum_cost,
            # A cap in another currency than the price table's allows nothing.
            limit=cap.micros if cap.currency == self.currency else 0,
            refusal=errors.SpendCapReached(
                f"The callback may cost {decimal(self.maximum_cost)} {self.currency}, more than the"
                f" rest of the daily budget of {cap}. Shorten max_duration_seconds, or wait for the"
                " next day (UTC)."
            ),
            until=counters.spend_expires_at(day),
        )

    # -- the result --------------------------------------------------------------------------------

    def rate_headers_if_read(self) -> dict[str, str]:
        """`rate_headers` if a rule has read `rows`; else empty, so that a refusal costs no read."""
        return self.rate_headers() if "rows" in self.__dict__ else {}

    def rate_headers(self, *, taking: int = 0) -> dict[str, str]:
        """The rest of the tenant's rates, after `taking` more of each
        (draft-ietf-httpapi-ratelimit-headers-10)."""
        tenant_rates = [(c, *c.rate) for c in self.counters if c.rate and c.leg is None]
        if not tenant_rates:
            return {}
        return {
            "RateLimit-Policy": ", ".join(
                f'"{name}";q={rate.count};w={rate.seconds}' for _, name, rate, _ in tenant_rates
            ),
            "RateLimit": ", ".join(
                f'"{name}";r={max(0, counter.limit - self.used(counter) - taking)};t={seconds}'
                for counter, name, _, seconds in tenant_rates
            ),
        }

    def admitted(self) -> Admitted:
        a, b = self.parties
        headers = self.rate_headers(taking=1)
        for counter in self.counters:
            counter.refusal.headers |= self.rate_headers()
        caller_id_a, caller_id_b = self.caller_ids
        reservation = Reservation(
            day=self.now.date().isoformat(),
            currency=self.currency,
            micros=self.maximum_cost,
            per_minute_a=a.per_minute,
            per_minute_b=b.per_minute,
        )
        callback = replace(
            self.planned,
            leg_a=replace(self.planned.leg_a, caller_id=caller_id_a),
            leg_b=replace(self.planned.leg_b, caller_id=caller_id_b),
            reservation=reservation,
        )
        conditions = [counter.condition() for counter in self.counters]
        conditions += [
            Condition(check_row(key, ABSENT), _suppressed(party))
            for key, party in self._parties_by_suppression_key().items()
        ]
        zones = self.zones(a), self.zones(b)
        return Admitted(callback, reservation, tuple(conditions), headers, self.parties, zones)

    def _parties_by_suppression_key(self) -> dict[Key, Party]:
        """Each row once, because a transaction may check a row only once.

        The parties share a row if one's number is the user of the other's sip: address. The
        refusal then names A.
        """
        return {
            key: party for party in reversed(self.parties) for key in self.suppression_keys(party)
        }


@dataclass(frozen=True, kw_only=True)
class _Counter(Counter):
    """`rate`: (name, rate, seconds until its window ends) if the counter belongs to a rate.
    `leg`: the leg whose number is counted; None if the tenant's callbacks are."""

    rate: tuple[str, Rate, int] | None = None
    leg: LegName | None = None


# ---------------------------------------------------------------------------------------- rules
def calling_is_not_stopped(case: Case) -> None:
    if not case.standing.may_call:
        raise errors.CallingStopped(
            "Your operator has stopped all calls, and resumes them with `kill-switch off`.",
            headers={"Retry-After": str(_SWITCH_RETRY)},
        )


def no_emergency_number_is_called(case: Case) -> None:
    """Refuse emergency numbers of each country involved, not only of ours.

    A carrier routes an emergency call by the country of the caller ID (Twilio docs, emergency
    calling); a PBX routes it by its own location.
    """
    involved = [a for party in case.parties for a in (party.leg.to, party.leg.caller_id)]
    regions = {
        telephone.region
        for address in involved
        for telephone in destinations.find_destination(address, case.home_region).telephones
    }
    for party in case.parties:
        for region in sorted({case.home_region, *filter(None, regions)}):
            if emergency.is_emergency(party.leg.to, region):
                raise errors.EmergencyNumber("Dial this number directly.", leg=party.name)


def sip_hosts_are_allowed(case: Case) -> None:
    hosts = case.policy.allowed_sip_hosts | {case.sip_domain.partition(":")[0].lower()}
    for party in case.parties:
        host = addresses.sip_host(party.leg.to)
        if host and host not in hosts:
            raise errors.SipHostNotAllowed(
                "Call the party by number, or ask your operator to allow this host"
                " (allowed_sip_hosts).",
                leg=party.name,
            )


def numbers_exist(case: Case) -> None:
    for party in case.parties:
        if not all(telephone.valid for telephone in party.destination.telephones):
            raise errors.NumberNotValid(
                "Check the digits: no numbering plan contains this number.", leg=party.name
            )


def regions_are_allowed(case: Case) -> None:
    regions = case.policy.regions(case.home_region)
    for party, telephone in case.telephones():
        region = telephone.region
        if region == destinations.NO_COUNTRY or region not in regions:
            raise errors.RegionNotAllowed(
                "Call a number of another region, or ask your operator to allow this one"
                " (allowed_regions). Satellite and international networks are never allowed."
                f"{_pbx_hint(party)}",
                leg=party.name,
                region=region,
            )


def types_are_allowed(case: Case) -> None:
    for party, telephone in case.telephones():
        kind = telephone.type
        if kind not in case.policy.allowed_types:
            raise errors.NumberTypeNotAllowed(
                "Call the party at another number, or ask your operator to allow this type"
                f" (allowed_types). Premium and similar types are never allowed.{_pbx_hint(party)}",
                leg=party.name,
                number_type=kind,
            )


def extensions_are_short(case: Case) -> None:
    """Refuse long digits that no numbering plan contains: a PBX may dial them all the same."""
    for party in case.parties:
        digits = (addresses.pbx_digits(party.leg.to) or "").removeprefix("+")
        longest = case.policy.longest_extension
        if len(digits) > longest and not party.destination.is_telephone:
            raise errors.ExtensionTooLong(
                f"An extension may have {longest} digits at most (longest_extension). Write a"
                " telephone number as E.164.",
                leg=party.name,
            )


def webhook_can_be_signed(case: Case) -> None:
    """A callback with a webhook URL of its own needs the secret of the tenant's endpoint."""
    if case.planned.webhook and endpoints.key(case.tenant) not in case.rows:
        raise errors.InvalidRequest.of_field(
            "webhook",
            "no_endpoint",
            "PUT /voice/webhook/endpoint first: its secret signs these events, too.",
        )


def no_own_number_is_called(case: Case) -> None:
    """Refuse a carrier number of any tenant: the call would return to this service."""
    for party, telephone in case.telephones():
        owner = case.owner(telephone.number)
        if owner and owner.owned:
            raise errors.OwnNumber("Give the number of the person to call.", leg=party.name)


def caller_ids_are_allowed(case: Case) -> None:
    _ = case.caller_ids


def no_party_is_suppressed(case: Case) -> None:
    for party in case.parties:
        if any(key in case.rows for key in case.suppression_keys(party)):
            raise _suppressed(party)


def time_is_inside_window(case: Case) -> None:
    window = case.policy.calling_window
    windowed = {
        party.name: zones for party in case.parties if (zones := case.zones(party)) is not None
    }
    if window is None:
        return
    for name, zones in windowed.items():
        if not calling_window.inside(window, zones, case.now):
            everywhere = sorted({zone for each in windowed.values() for zone in each})
            all_have_zones = all(windowed.values())
            at = (
                calling_window.next_inside(window, everywhere, case.now) if all_have_zones else None
            )
            raise errors.OutsideCallingWindow(
                f"Try again at {to_text(at)}." if at else "Call the party at another number.",
                leg=name,
                next_allowed_at=maybe_text(at),
            )


def limits_are_not_exceeded(case: Case) -> None:
    for counter in case.counters:
        if counter.refuses(case.used(counter)):
            raise counter.refusal


RULES: tuple[Callable[[Case], None], ...] = (
    calling_is_not_stopped,
    no_emergency_number_is_called,
    sip_hosts_are_allowed,
    numbers_exist,
    regions_are_allowed,
    types_are_allowed,
    extensions_are_short,
    webhook_can_be_signed,
    no_own_number_is_called,
    caller_ids_are_allowed,
    no_party_is_suppressed,
    time_is_inside_window,
    limits_are_not_exceeded,
)


def _suppressed(party: Party) -> CallbackError:
    return errors.Suppressed(
        "Do not call this party again unless it opts in by texting START to your number.",
        leg=party.name,
    )


def _pbx_hint(party: Party) -> str:
    """A hint for digits that a PBX may dial as another number than the client meant."""
    if addresses.is_number(party.leg.to):
        return ""
    return " A PBX may dial these digits as that number: write numbers with + and country code."


def _seconds_until(moment: datetime, now: datetime) -> int:
    return max(1, -int(-(moment - now).total_seconds() // 1))
