"""Amounts that callbacks are limited by: calls in a span of time, and money.

Money is counted in millionths of its currency's unit: whole numbers, so sums are exact.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

MICROS = 1_000_000

_MONEY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ([A-Z]{3})", re.ASCII)


class InvalidAmount(ValueError):
    """Not an amount of money; the message says how to write one."""


@dataclass(frozen=True)
class Rate:
    """At most `count` in every window of `seconds`. Windows begin at multiples of `seconds`
    since 1970."""

    count: int
    seconds: int


@dataclass(frozen=True)
class Money:
    micros: int
    currency: str  # ISO 4217

    def __str__(self) -> str:
        return f"{decimal(self.micros)} {self.currency}"


def decimal(micros: int) -> str:
    """Money as a decimal string, with two places at least."""
    whole, part = divmod(abs(micros), MICROS)
    places = f"{part:06}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}{whole}.{places}"


def money(text: str) -> Money:
    """Read what `str(Money)` writes. Raises InvalidAmount."""
    match = _MONEY.fullmatch(text)
    if match is None:
        raise InvalidAmount("Give an amount and its currency, such as '50.00 USD'.")
    return Money(int(Decimal(match[1]) * MICROS), match[2])
