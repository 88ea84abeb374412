"""The destination of an address: its country and its type of line, from `phonenumbers`.

A prefix does not determine the country: +44 7911 is Guernsey, +1 809 the Dominican Republic.
Numbering plans also change every month.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import phonenumbers

from callback.numbering import addresses, phone_numbers
from callback.numbering.number_types import NumberType

# Satellites, international networks, shared premium: +870, +878, +881, +882, +883, +888, +979.
NO_COUNTRY = phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY

_UNKNOWN_ZONE = "Etc/Unknown"


class DialPlan(NamedTuple):
    """How the deployment interprets and dials an address.

    `home_region` (ISO 3166) is the country of national numbers. `sip_domain` is the PBX's domain;
    if it is empty, extensions cannot be dialed.
    """

    home_region: str
    sip_domain: str


@dataclass(frozen=True)
class Telephone:
    """`number` is E.164. `region` and `type` are None if no country has this code."""

    number: str
    region: str | None = None
    type: NumberType | None = None
    valid: bool = False

    @cached_property
    def zones(self) -> tuple[str, ...]:
        """Every possible time zone (tz database names). Empty: unknown."""
        from phonenumbers import timezone  # noqa: PLC0415  (a large table, rarely needed)

        zones = timezone.time_zones_for_number(phonenumbers.parse(self.number))
        return tuple(zone for zone in zones if zone != _UNKNOWN_ZONE)


class Destination(NamedTuple):
    """An address and every telephone that may ring for it (see `phone_numbers.telephones`).

    The admission rules check each telephone. An extension or a sip: address may have none: its PBX
    decides which lines ring.
    """

    address: str
    telephones: tuple[Telephone, ...] = ()

    @property
    def is_telephone(self) -> bool:
        return bool(self.telephones)

    @property
    def number(self) -> str:
        """The subject of counters: the telephone's number, otherwise the address."""
        return self.telephones[0].number if self.telephones else self.address

    @property
    def region(self) -> str | None:
        return self.telephones[0].region if self.telephones else None

    @property
    def kind(self) -> str:
        """The type of line, "extension" or "sip"; for people to read."""
        if self.telephones and self.telephones[0].type:
            return str(self.telephones[0].type)
        return "extension" if addresses.is_extension(self.address) else "sip"

    @property
    def zones(self) -> tuple[str, ...]:
        """Every possible time zone of the party. Empty: unknown."""
        return tuple(sorted({zone for telephone in self.telephones for zone in telephone.zones}))


def find_destination(address: str, home_region: str) -> Destination:
    """`address` has the form that `addresses.parse` returns, or is empty."""
    numbers = phone_numbers.telephones(address, home_region)
    return Destination(address, tuple(telephone(number) for number in numbers))


@lru_cache(phone_numbers.REMEMBERED)
def telephone(number: str) -> Telephone:
    """The telephone of an E.164 number."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:  # no country has this code
        return Telephone(number)
    kind = phonenumbers.PhoneNumberType.to_string(phonenumbers.number_type(parsed))
    return Telephone(
        number,
        region=phonenumbers.region_code_for_number(parsed),
        type=NumberType(kind.lower()),
        valid=phonenumbers.is_valid_number(parsed),
    )
