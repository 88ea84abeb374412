"""A tenant's policy, and the kill switches for one tenant and for all.

A policy is a set of fields on the tenant's row (TENANT-SETTINGS#<tenant> / SETTINGS), each in the
text form that `set-policy` takes. A missing field has the default below, with which a stranger can
do little harm. The row SWITCH / CALLING, while it exists, stops all calls of all tenants.
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from callback import amounts, clock
from callback.amounts import MICROS, Money, Rate
from callback.lifecycle.models import to_text
from callback.numbering import addresses
from callback.numbering.number_types import NumberType
from callback.storage.table import PRESENT, Expression, Key, Row, Table, key_row
from callback.tenancy.tenants import NoSuchTenant, settings_key

# How long a policy or a kill switch is cached. The promise is that a change takes effect within
# 10 s; the rest is for a request that read the cache just before.
_CACHE_AGE = timedelta(seconds=5)


# All that a policy can allow. The owners of other types earn money with each call, or the
# destination is unknown.
ALLOWABLE_TYPES = frozenset(
    {
        NumberType.FIXED_LINE,
        NumberType.MOBILE,
        NumberType.FIXED_LINE_OR_MOBILE,
        NumberType.VOIP,
        NumberType.TOLL_FREE,
    }
)


class UnknownField(LookupError):
    """The policy has no such field."""


class InvalidValue(ValueError):
    """The value is not valid for the field. The message states the valid ones."""


@dataclass(frozen=True)
class CallingWindow:
    """From `start` to just before `end`, local time, on `days` (0 is Monday)."""

    start: time
    end: time | None  # None: midnight
    days: frozenset[int]


_DAILY_SPEND = Money(50 * MICROS, "USD")


@dataclass(frozen=True)
class Policy:
    """Defaults apply to tenants without an explicit policy.

    allowed_regions: ISO 3166 codes. Empty: the deployment's home region.
    allowed_types: VOIP is off by default because anybody can rent such numbers anonymously by the
        thousand, as traffic pumping does. TOLL_FREE is off by default because the number's owner
        pays for each call and its carrier earns money with it.
    longest_extension: digits. Longer digits that are no valid telephone number are not called,
        because a PBX may dial them as one.
    allowed_sip_hosts: in addition to the deployment's own SIP domain.
    fallback_caller_id: a number of the tenant. It is shown if the client gives no caller ID and
        the other party's number is not the tenant's.
    any_caller_id_extension: whether a party at a PBX may be shown any extension.
    calls_per_number, calls_per_prefix: to one number, and to the 10,000 numbers that differ in the
        last four digits. The tenant's own and verified numbers are not counted.
    calling_window: in the called party's time zone. A number with several zones must be inside in
        all of them. None: any hour.
    pbx_zone: the time zone of extensions and sip: addresses. None: they are called at any hour.
    """

    enabled: bool = True
    allowed_regions: frozenset[str] = frozenset()
    allowed_types: frozenset[NumberType] = frozenset(
        {NumberType.FIXED_LINE, NumberType.MOBILE, NumberType.FIXED_LINE_OR_MOBILE}
    )
    longest_extension: int = 7
    allowed_sip_hosts: frozenset[str] = frozenset()
    fallback_caller_id: str | None = None
    any_caller_id_extension: bool = False
    calls_per_number: tuple[Rate, ...] = (Rate(3, 600), Rate(10, 86_400))
    calls_per_prefix: tuple[Rate, ...] = (Rate(20, 3600),)
    calls_per_tenant: tuple[Rate, ...] = (Rate(60, 60),)
    concurrent_callbacks: int = 10
    daily_spend: Money = _DAILY_SPEND
    # The hours in which US law lets consumers be called (16 CFR 310.4(c)).
    calling_window: CallingWindow | None = CallingWindow(time(8), time(21), frozenset(range(7)))
    pbx_zone: str | None = None
    require_idempotency_key: bool = False

    def regions(self, home_region: str) -> Collection[str]:
        """ISO 3166 codes of the regions that the tenant may call."""
        return self.allowed_regions or {home_region}


@dataclass(frozen=True)
class Standing:
    """A tenant's policy and the switch for all tenants. `stopped`: that switch is on."""

    policy: Policy
    stopped: bool = False

    @property
    def may_call(self) -> bool:
        return self.policy.enabled and not self.stopped


class PolicyStore:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._cache: dict[str, tuple[datetime, Standing]] = {}

    def standing(self, tenant: str) -> Standing:
        """The tenant's standing, a few seconds old at most (`_CACHE_AGE`).

        A tenant without a row, or without a policy, has the defaults.
        """
        now = clock.now()
        read_at, standing = self._cache.get(tenant, (None, Standing(Policy())))
        if read_at is None or not timedelta() <= now - read_at < _CACHE_AGE:
            rows = self._table.read([settings_key(tenant), _SWITCH])
            standing = Standing(_policy(rows.get(settings_key(tenant), {})), _SWITCH in rows)
            self._cache[tenant] = (now, standing)
        return standing

    def get(self, tenant: str) -> Policy:
        """The policy at this moment, not cached. Raises NoSuchTenant."""
        rows = self._table.read([settings_key(tenant)])
        if not rows:
            raise NoSuchTenant(f"There is no tenant {tenant}.")
        return _policy(rows[settings_key(tenant)])

    def set(self, tenant: str, field: str, text: str) -> None:
        """Set a field. Empty text restores its default.

        Raises UnknownField, InvalidValue, NoSuchTenant. Nothing is written then.
        """
        parse_field(field, text)
        names = {"#field": field}
        change = (
            Expression("SET #field = :text", {":text": text}, names)
            if text
            else Expression("REMOVE #field", names=names)
        )
        if not self._table.update(settings_key(tenant), change, PRESENT):
            raise NoSuchTenant(f"There is no tenant {tenant}.")

    def switch(self, *, on: bool, tenant: str | None = None) -> None:
        """Stop (`on`) or resume all calls of a tenant, or of all tenants. Raises NoSuchTenant."""
        if tenant is not None:
            self.set(tenant, "enabled", "false" if on else "")
        elif on:
            self._table.put({**key_row(_SWITCH), "thrown_at": to_text(clock.now())})
        else:
            self._table.delete(_SWITCH)

    def switch_is_on(self) -> bool:
        """Whether the switch for all tenants is on at this moment."""
        return bool(self._table.read([_SWITCH]))


_SWITCH: Key = ("SWITCH", "CALLING")


def _policy(row: Row) -> Policy:
    return Policy(**{name: form.parse(row[name]) for name, form in _FORMS.items() if name in row})


def parse_field(field: str, text: str) -> Any:
    """A field's value. Empty text: its default. Raises UnknownField, InvalidValue."""
    if field not in _FORMS:
        raise UnknownField(f"A policy has no field {field}. It has: {', '.join(_FORMS)}.")
    try:
        return _FORMS[field].parse(text) if text else getattr(Policy(), field)
    except InvalidValue as invalid:
        raise InvalidValue(f"{field}: {invalid}") from None


def format_policy(policy: Policy) -> dict[str, str]:
    """Each field in the text form that `set` takes. Empty text: None or an empty set."""
    return {field.name: _FORMS[field.name].show(getattr(policy, field.name)) for field in _FIELDS}


# ------------------------------------------------------------------------------ a field's text
@dataclass(frozen=True)
class _Form:
    """The text form of a field's value. `parse` raises InvalidValue."""

    parse: Callable[[str], Any]
    show: Callable[[Any], str]


# Each rate takes a row for the tenant, one for each number and one for each prefix. A transaction
# and a batch of reads take 100 rows, all others included.
_MOST_RATES = 10

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_RATE = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,4})([smhd])", re.ASCII)
_WINDOW = re.compile(
    r"([01][0-9]|2[0-3]):([0-5][0-9])-(24:00|(?:[01][0-9]|2[0-3]):[0-5][0-9]) (\S+)", re.ASCII
)
_REGION = re.compile(r"[A-Z]{2}", re.ASCII)
_HOST = re.compile(r"[a-z0-9.-]{1,253}", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
_EXTENSION_DIGITS = range(addresses.SHORTEST_EXTENSION, addresses.LONGEST_EXTENSION + 1)


def _bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise InvalidValue("Give true or false.")
    return text == "true"


def _count(text: str) -> int:
    if not _COUNT.fullmatch(text):
        raise InvalidValue("Give a whole number.")
    return int(text)


def _digits(text: str) -> int:
    if not _COUNT.fullmatch(text) or int(text) not in _EXTENSION_DIGITS:
        raise InvalidValue(
            f"Give a number of digits, {_EXTENSION_DIGITS[0]} to {_EXTENSION_DIGITS[-1]}."
        )
    return int(text)


def _set_of(one: re.Pattern[str], example: str) -> Callable[[str], frozenset[str]]:
    def parse(text: str) -> frozenset[str]:
        parts = text.split(",")
        if not all(one.fullmatch(part) for part in parts):
            raise InvalidValue(f"Give values separated by commas, such as {example}.")
        return frozenset(parts)

    return parse


def _types(text: str) -> frozenset[NumberType]:
    types = frozenset(text.split(","))
    if not types <= ALLOWABLE_TYPES:
        raise InvalidValue(f"Give some of {_join(ALLOWABLE_TYPES)}. No other can be allowed.")
    return frozenset(map(NumberType, types))


def _number(text: str) -> str:
    if not text.startswith("+"):
        raise InvalidValue("Give an E.164 number such as +14155550123.")
    try:
        return addresses.parse(text)
    except addresses.InvalidAddress as invalid:
        raise InvalidValue(invalid.detail) from None


def _rates(text: str) -> tuple[Rate, ...]:
    if text == "unlimited":
        return ()
    matches = [_RATE.fullmatch(part) for part in text.split(",")]
    rates = tuple(Rate(int(m[1]), int(m[2]) * _UNITS[m[3]]) for m in matches if m)
    if len(rates) < len(matches) or len({rate.seconds for rate in rates}) < len(rates):
        raise InvalidValue("Give rates of different periods, such as 3/10m,10/1d, or unlimited.")
    if len(rates) > _MOST_RATES:
        raise InvalidValue(f"Give {_MOST_RATES} rates at most.")
    return rates


def _format_rates(rates: tuple[Rate, ...]) -> str:
    def span(seconds: int) -> str:
        unit = max((u for u in _UNITS if seconds % _UNITS[u] == 0), key=_UNITS.__getitem__)
        return f"{seconds // _UNITS[unit]}{unit}"

    return ",".join(f"{rate.count}/{span(rate.seconds)}" for rate in rates) or "unlimited"


def _money(text: str) -> Money:
    try:
        return amounts.money(text)
    except amounts.InvalidAmount as invalid:
        raise InvalidValue(str(invalid)) from None


def _window(text: str) -> CallingWindow | None:
    if text == "always":
        return None
    match = _WINDOW.fullmatch(text)
    days = _days(match[4]) if match else frozenset()
    if match is None or not days:
        raise InvalidValue("Give hours and days, such as '08:00-21:00 mon-fri,sun', or always.")
    start = time(int(match[1]), int(match[2]))
    end = None if match[3] == "24:00" else time.fromisoformat(match[3])
    if end is not None and end <= start:
        raise InvalidValue("The calling window must end after it begins, on the same day.")
    return CallingWindow(start, end, days)


def _days(text: str) -> frozenset[int]:
    """Weekdays, 0 is Monday. Empty if the text is not valid."""
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        last = last or first
        if first not in _DAYS or last not in _DAYS or _DAYS.index(last) < _DAYS.index(first):
            return frozenset()
        days.update(range(_DAYS.index(first), _DAYS.index(last) + 1))
    return frozenset(days)


def _format_window(window: CallingWindow | None) -> str:
    if window is None:
        return "always"
    end = window.end.isoformat("minutes") if window.end else "24:00"
    days = ",".join(_DAYS[day] for day in sorted(window.days))
    return f"{window.start.isoformat('minutes')}-{end} {days}"


def _zone(text: str) -> str:
    try:
        return ZoneInfo(text).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidValue("Give a time zone such as Europe/Berlin.") from None


def _join(values: Iterable[str]) -> str:
    return ",".join(sorted(values))


def _format_bool(value: bool) -> str:
    return "true" if value else "false"


def _or_empty(value: str | None) -> str:
    return value or ""


_FORMS: dict[str, _Form] = {
    "enabled": _Form(_bool, _format_bool),
    "allowed_regions": _Form(_set_of(_REGION, "US,CA"), _join),
    "allowed_types": _Form(_types, _join),
    "longest_extension": _Form(_digits, str),
    "allowed_sip_hosts": _Form(_set_of(_HOST, "pbx.example.com"), _join),
    "fallback_caller_id": _Form(_number, _or_empty),
    "any_caller_id_extension": _Form(_bool, _format_bool),
    "calls_per_number": _Form(_rates, _format_rates),
    "calls_per_prefix": _Form(_rates, _format_rates),
    "calls_per_tenant": _Form(_rates, _format_rates),
    "concurrent_callbacks": _Form(_count, str),
    "daily_spend": _Form(_money, str),
    "calling_window": _Form(_window, _format_window),
    "pbx_zone": _Form(_zone, _or_empty),
    "require_idempotency_key": _Form(_bool, _format_bool),
}
_FIELDS = fields(Policy)
