"""May this callback be? Decided before anything is stored or spent, whatever asked for it.

RULES says what is asked, in this order; the first that says no is the answer. What is counted is
looked at here, so that a refusal costs one read, and decided by the transaction that stores the
callback (see `counters`): it alone sees everybody's at once.
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

_LAST_DIGITS = 4  # of a number that its prefix leaves open

# Seconds after which it may be otherwise; nobody knows when a switch is set back, or who hangs up.
_SWITCH_RETRY, _AT_ONCE_RETRY = 60, 10


@dataclass(frozen=True)
class Party:
    """Somebody who would be called; `leg.caller_id` empty: the client asked for none."""

    name: LegName
    leg: Leg
    destination: Destination
    per_minute: int
    seconds: int  # that the carrier lets the call last, at most
    hashed: dict[str, str]  # what stands for its "number" and "prefix", which must not be named

    @property
    def numbers(self) -> list[str]:
        """E.164 of each telephone that may ring; none: an extension or a word at a PBX."""
        return [telephone.number for telephone in self.destination.telephones]

    @property
    def most_it_costs(self) -> int:
        return counters.cost(self.seconds, self.per_minute)


@dataclass(frozen=True)
class Admitted:
    """`callback` with its caller IDs and its reservation; `conditions` go into the transaction
    that stores it. `headers` tell the client how much is left to it; `zones` in whose hours each
    party may be called, None at any."""

    callback: Callback
    conditions: tuple[Condition, ...]
    headers: dict[str, str]
    parties: tuple[Party, Party]
    zones: tuple[tuple[str, ...] | None, tuple[str, ...] | None]


class Admission:
    """`dial_plan` is the deployment's."""

    def __init__(self, table: Table, pepper: Pepper, dial_plan: DialPlan) -> None:
        self._table = table
        self.policies = PolicyStore(table)
        self._suppression = SuppressionList(table, pepper)
        self._prices = prices.read()
        self.dial_plan = dial_plan

    def admit(self, planned: Callback) -> Admitted:
        """What becomes of a callback that nobody has stored. Writes nothing.

        Raises the refusal of the first of RULES that says no.
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
            except CallbackError as refused:
                refused.headers |= case.rates_known()
                raise
        return case.admitted()

    def may_ever_call(self, tenant: str, number: str) -> bool:
        """Whether an E.164 number is of a region and a type that the tenant calls."""
        policy = self.policies.standing(tenant).policy
        telephone = destinations.telephone(number)
        allowed = policy.regions(self.dial_plan.home_region)
        return telephone.region in allowed and telephone.type in policy.allowed_types

    def _party(self, planned: Callback, name: LegName) -> Party:
        leg = planned.leg(name)
        destination = destinations.find_destination(leg.to, self.dial_plan.home_region)
        return Party(
            name,
            leg,
            destination,
            per_minute=self._dearest(destination),
            seconds=int(timing.time_limit(planned, name).total_seconds()),
            hashed={
                "number": self._suppression.hashed(destination.number),
                "prefix": self._suppression.hashed(destination.number[:-_LAST_DIGITS]),
            },
        )

    def _dearest(self, destination: Destination) -> int:
        """What a minute costs at most."""
        telephones = destination.telephones
        return max(
            (self._prices.per_minute(each.region, each.type) for each in telephones),
            default=self._prices.pbx,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A callback to be decided about, and what is known of it; read at the first rule that asks."""

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
    def known(self) -> dict[Key, Row]:
        """Every row that a rule may ask for."""
        keys = [numbers.key(number) for number in self._numbers()]
        keys += [key for party in self.parties for key in self.suppressed_as(party)]
        keys += [counter.key for counter in self._countable()]
        if self.planned.webhook:
            keys.append(endpoints.key(self.tenant))
        return self.read(keys)

    def telephones(self) -> Iterator[tuple[Party, Telephone]]:
        """Each that may ring, and for whom."""
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
        row = self.known.get(numbers.key(number))
        return numbers.from_row(row) if row else None

    def is_tenants(self, number: str) -> bool:
        """Its own at the carrier, or verified as its caller ID."""
        owner = self.owner(number)
        return owner is not None and owner.tenant == self.tenant

    def suppressed_as(self, party: Party) -> list[Key]:
        """However it is written, and as each telephone that it may reach."""
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
        """What each party is shown. Raises CallerIdNotAllowed."""
        a, b = self.parties
        return self._caller_id(a, b), self._caller_id(b, a)

    def _caller_id(self, party: Party, other: Party) -> str:
        asked, fallback = party.leg.caller_id, self.policy.fallback_caller_id
        if asked:
            if self._may_show(asked, party):
                return asked
            raise errors.CallerIdNotAllowed(
                f"Give leg_{party.name} a `from` that is a number of yours, owned or verified"
                " (put-number), or leave it out.",
                leg=party.name,
            )
        if self._may_show(other.leg.to, party):
            return other.leg.to
        if fallback and self.is_tenants(fallback):
            return fallback
        raise errors.CallerIdNotAllowed(
            f"Give leg_{party.name} a `from` that is a number of yours, owned or verified: the"
            " other party's is not, and there is no fallback_caller_id.",
            leg=party.name,
        )

    def _may_show(self, address: str, party: Party) -> bool:
        # A telephone is shown telephone numbers only (Twilio error 21212), a PBX knows its own.
        if addresses.is_number(party.leg.to) and not addresses.is_number(
            addresses.user_part(address)
        ):
            return False
        numbers = phone_numbers.telephones(address, self.home_region)
        if numbers:
            return all(map(self.is_tenants, numbers))
        return self.policy.any_caller_id_extension and not party.destination.is_telephone

    # -- when --------------------------------------------------------------------------------------

    def zones(self, party: Party) -> tuple[str, ...] | None:
        """In whose hours the party may be called. None: at any hour."""
        if self.policy.calling_window is None or self._is_tenants_own(party):
            return None
        if party.destination.is_telephone:
            return party.destination.zones
        return (self.policy.pbx_zone,) if self.policy.pbx_zone else None

    def _is_tenants_own(self, party: Party) -> bool:
        """Somebody who answers a number that is verified as the tenant's: of its own people."""
        return party.destination.is_telephone and all(map(self.is_tenants, party.numbers))

    # -- how much ----------------------------------------------------------------------------------

    @cached_property
    def most_it_costs(self) -> int:
        return sum(party.most_it_costs for party in self.parties)

    @cached_property
    def counters(self) -> list["_Counter"]:
        """What this callback counts towards."""
        exempt = {party.name for party in self.parties if self._is_tenants_own(party)}
        return counters.merge_counters(c for c in self._countable() if c.leg not in exempt)

    def used(self, counter: Counter) -> int:
        return int(self.known.get(counter.key, {}).get("used", 0))

    def _countable(self) -> Iterator["_Counter"]:
        yield _Counter(
            key=counters.at_once(self.tenant),
            amount=1,
            limit=self.policy.concurrent_callbacks,
            refusal=errors.TooManyAtOnce(
                f"{self.policy.concurrent_callbacks} may go on at once: wait until one has ended.",
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
        whose = party.hashed[name] if party else ""
        for rate in rates:
            _, ends = counters.window(rate, self.now)
            seconds = _seconds_until(ends, self.now)
            told = {"leg": party.name} if party else {}
            yield _Counter(
                key=counters.calls(self.tenant, f"{name}#{whose}", rate, self.now),
                amount=1,
                limit=rate.count,
                refusal=refusal(
                    f"{rate.count} in {rate.seconds} s are allowed: wait {seconds} s.",
                    headers={"Retry-After": str(seconds)},
                    **told,
                ),
                until=ends + timedelta(days=1),
                rate=(f"{name}-{rate.seconds}", rate, seconds),
                leg=party.name if party else None,
            )

    def _spend(self) -> "_Counter":
        cap, day = self.policy.daily_spend, self.now.date().isoformat()
        return _Counter(
            key=counters.spend(self.tenant, self.currency, day),
            amount=self.most_it_costs,
            # Of an amount in another currency than the prices' nothing may be spent.
            limit=cap.micros if cap.currency == self.currency else 0,
            refusal=errors.SpendCapReached(
                f"It may cost {decimal(self.most_it_costs)} {self.currency}, more than is left of"
                f" the day's {cap}. Shorten max_duration_seconds, or wait for the next day (UTC)."
            ),
            until=counters.spend_expires_at(day),
        )

    # -- the answer --------------------------------------------------------------------------------

    def rates_known(self) -> dict[str, str]:
        """`rate_headers`, where a rule has asked for what they are made of."""
        return self.rate_headers() if "known" in self.__dict__ else {}

    def rate_headers(self, *, taking: int = 0) -> dict[str, str]:
        """How much of the tenant's rates is left, after `taking` so much of each
        (draft-ietf-httpapi-ratelimit-headers-10)."""
        told = [(c, *c.rate) for c in self.counters if c.rate and c.leg is None]
        if not told:
            return {}
        return {
            "RateLimit-Policy": ", ".join(
                f'"{name}";q={rate.count};w={rate.seconds}' for _, name, rate, _ in told
            ),
            "RateLimit": ", ".join(
                f'"{name}";r={max(0, counter.limit - self.used(counter) - taking)};t={seconds}'
                for counter, name, _, seconds in told
            ),
        }

    def admitted(self) -> Admitted:
        a, b = self.parties
        headers = self.rate_headers(taking=1)
        for counter in self.counters:
            counter.refusal.headers |= self.rate_headers()
        shown_to_a, shown_to_b = self.caller_ids
        callback = replace(
            self.planned,
            leg_a=replace(self.planned.leg_a, caller_id=shown_to_a),
            leg_b=replace(self.planned.leg_b, caller_id=shown_to_b),
            reservation=Reservation(
                day=self.now.date().isoformat(),
                currency=self.currency,
                micros=self.most_it_costs,
                per_minute_a=a.per_minute,
                per_minute_b=b.per_minute,
            ),
        )
        conditions = [counter.condition() for counter in self.counters]
        conditions += [
            Condition(check_row(key, ABSENT), _suppressed(party))
            for key, party in self._must_not_be_suppressed().items()
        ]
        return Admitted(
            callback, tuple(conditions), headers, self.parties, (self.zones(a), self.zones(b))
        )

    def _must_not_be_suppressed(self) -> dict[Key, Party]:
        """Each row once, as a transaction wants it: a number may be the user of the other party's
        sip: address. Of the two the first is told."""
        return {key: party for party in reversed(self.parties) for key in self.suppressed_as(party)}


@dataclass(frozen=True, kw_only=True)
class _Counter(Counter):
    """`rate`: (name, rate, seconds until its window ends), where it is one. `leg`: whose number
    is counted."""

    rate: tuple[str, Rate, int] | None = None
    leg: LegName | None = None


# ---------------------------------------------------------------------------------------- rules
def calling_is_not_stopped(case: Case) -> None:
    if not case.standing.may_call:
        raise errors.CallingStopped(
            "Nothing is dialed until your operator switches calling on again (kill-switch off).",
            headers={"Retry-After": str(_SWITCH_RETRY)},
        )


def nobody_is_emergency(case: Case) -> None:
    """Also not in another country than ours: carriers go by the caller ID's (Twilio docs,
    emergency calling), a PBX by where it stands."""
    told = [a for party in case.parties for a in (party.leg.to, party.leg.caller_id)]
    regions = {
        telephone.region
        for address in told
        for telephone in destinations.find_destination(address, case.home_region).telephones
    }
    for party in case.parties:
        for region in sorted({case.home_region, *filter(None, regions)}):
            if emergency.is_emergency(party.leg.to, region):
                raise errors.EmergencyNumber("Dial it directly.", leg=party.name)


def sip_hosts_are_allowed(case: Case) -> None:
    allowed = case.policy.allowed_sip_hosts | {case.sip_domain.partition(":")[0].lower()}
    for party in case.parties:
        host = addresses.sip_host(party.leg.to)
        if host and host not in allowed:
            raise errors.SipHostNotAllowed(
                "Call them by number, or ask your operator for this host (allowed_sip_hosts).",
                leg=party.name,
            )


def numbers_exist(case: Case) -> None:
    for party in case.parties:
        if not all(telephone.valid for telephone in party.destination.telephones):
            raise errors.NumberNotValid(
                "Check its digits: no numbering plan has such a number.", leg=party.name
            )


def regions_are_allowed(case: Case) -> None:
    allowed = case.policy.regions(case.home_region)
    for party, telephone in case.telephones():
        region = telephone.region
        if region == destinations.NO_COUNTRY or region not in allowed:
            raise errors.RegionNotAllowed(
                "Call a number of another region, or ask your operator for this one"
                " (allowed_regions; satellite and international networks are never allowed)."
                f"{_as_dialed(party)}",
                leg=party.name,
                region=region,
            )


def types_are_allowed(case: Case) -> None:
    for party, telephone in case.telephones():
        kind = telephone.type
        if kind not in case.policy.allowed_types:
            raise errors.NumberTypeNotAllowed(
                "Call another number of theirs, or ask your operator for this type"
                f" (allowed_types; premium and the like are never allowed).{_as_dialed(party)}",
                leg=party.name,
                number_type=kind,
            )


def extensions_are_short(case: Case) -> None:
    """No plan has such a telephone number; the PBX may know better, and dial it."""
    for party in case.parties:
        digits = (addresses.pbx_digits(party.leg.to) or "").removeprefix("+")
        longest = case.policy.longest_extension
        if len(digits) > longest and not party.destination.is_telephone:
            raise errors.ExtensionTooLong(
                f"An extension has {longest} digits at most (longest_extension). Give a telephone"
                " number as E.164.",
                leg=party.name,
            )


def its_webhook_can_be_signed(case: Case) -> None:
    """Whoever gives a callback a URL of its own needs the secret of an endpoint."""
    if case.planned.webhook and endpoints.key(case.tenant) not in case.known:
        raise errors.InvalidRequest.of_field(
            "webhook", "no_endpoint", "PUT /voice/webhook/endpoint first: its secret signs."
        )


def nobody_is_us(case: Case) -> None:
    for party, telephone in case.telephones():
        owner = case.owner(telephone.number)
        if owner and owner.owned:
            raise errors.OwnNumber(
                "Give the number of the person who is to answer.", leg=party.name
            )


def caller_ids_are_the_tenants(case: Case) -> None:
    _ = case.caller_ids


def nobody_is_suppressed(case: Case) -> None:
    for party in case.parties:
        if any(key in case.known for key in case.suppressed_as(party)):
            raise _suppressed(party)


def it_is_within_hours(case: Case) -> None:
    window = case.policy.calling_window
    windowed = {
        party.name: zones for party in case.parties if (zones := case.zones(party)) is not None
    }
    if window is None:
        return
    for name, zones in windowed.items():
        if not calling_window.inside(window, zones, case.now):
            everywhere = sorted({zone for each in windowed.values() for zone in each})
            known = all(windowed.values())
            at = calling_window.next_inside(window, everywhere, case.now) if known else None
            raise errors.OutsideCallingWindow(
                f"Try again at {to_text(at)}." if at else "Call them by another number.",
                leg=name,
                next_allowed_at=maybe_text(at),
            )


def limits_hold(case: Case) -> None:
    for counter in case.counters:
        if counter.refuses(case.used(counter)):
            raise counter.refusal


RULES: tuple[Callable[[Case], None], ...] = (
    calling_is_not_stopped,
    nobody_is_emergency,
    sip_hosts_are_allowed,
    numbers_exist,
    regions_are_allowed,
    types_are_allowed,
    extensions_are_short,
    its_webhook_can_be_signed,
    nobody_is_us,
    caller_ids_are_the_tenants,
    nobody_is_suppressed,
    it_is_within_hours,
    limits_hold,
)


def _suppressed(party: Party) -> CallbackError:
    return errors.Suppressed(
        "Do not call them until they ask for it: START, sent to your number, takes them off the"
        " list.",
        leg=party.name,
    )


def _as_dialed(party: Party) -> str:
    """What to do where another number was read from the digits than was meant."""
    if addresses.is_number(party.leg.to):
        return ""
    return " These digits may reach it through the PBX: write numbers with + and country code."


def _seconds_until(moment: datetime, now: datetime) -> int:
    return max(1, -int(-(moment - now).total_seconds() // 1))
