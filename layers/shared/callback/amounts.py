"""Amounts that limit callbacks: calls in a period of time, and money.

Money is a whole number of millionths of its currency's unit, so sums are exact.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

MICROS = 1_000_000

_MONEY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ([A-Z]{3})", re.ASCII)


class InvalidAmount(ValueError):
    """The text is not an amount of money. The message says how to write one."""


@dataclass(frozen=True)
class Rate:
    """At most `count` calls in each window of `seconds`.

    Windows begin at multiples of `seconds` since 1970.
    """

    count: int
    seconds: int


@dataclass(frozen=True)
class Money:
    micros: int
    currency: str  # ISO 4217

    def __str__(self) -> str:
        return f"{decimal(self.micros)} {self.currency}"


def decimal(micros: int) -> str:
    """Money as a decimal string with at least two places."""
    whole, part = divmod(abs(micros), MICROS)
    places = f"{part:06}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}{whole}.{places}"


def money(text: str) -> Money:
    """Parse the format of `str(Money)`. Raises InvalidAmount."""
    match = _MONEY.fullmatch(text)
    if match is None:
        raise InvalidAmount("Give an amount and its currency, such as '50.00 USD'.")
    return Money(int(Decimal(match[1]) * MICROS), match[2])
