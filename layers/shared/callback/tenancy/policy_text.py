"""The text form of each field of a policy: what `set-policy` takes and `show-policy` prints.

The table stores the same texts.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import time
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from callback import amounts
from callback.amounts import Money, Rate
from callback.numbering import addresses
from callback.numbering.number_types import NumberType
from callback.tenancy.policy import ALLOWABLE_TYPES, CallingWindow, Policy, WhenFull


class UnknownField(LookupError):
    """The policy has no such field."""


class InvalidValue(ValueError):
    """The value is not valid for the field. The message states the valid ones."""


def parse_policy(texts: Mapping[str, Any]) -> Policy:
    """The policy whose fields have these texts. Other names are ignored; a missing field has its
    default. Raises InvalidValue."""
    return Policy(
        **{name: form.parse(texts[name]) for name, form in _FORMS.items() if name in texts}
    )


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


def _when_full(text: str) -> WhenFull:
    if text not in [*WhenFull]:
        raise InvalidValue("Give refuse or wait.")
    return WhenFull(text)


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
    "waiting_callbacks": _Form(_count, str),
    "when_full": _Form(_when_full, str),
    "daily_spend": _Form(_money, str),
    "calling_window": _Form(_window, _format_window),
    "pbx_zone": _Form(_zone, _or_empty),
    "require_idempotency_key": _Form(_bool, _format_bool),
}
_FIELDS = fields(Policy)
