"""Where an address leads: a country and a type of line, as `phonenumbers` knows them.

Never by prefix: +44 7911 is Guernsey's and +1 809 the Dominican Republic's, whatever they look
like, and the plans change every month.
"""

from dataclasses import dataclass
from functools import cached_property

import phonenumbers

from callback.numbering import addresses, phone_numbers
from callback.numbering.number_types import NumberType

# Satellites, international networks, shared premium: +870, +878, +881, +882, +883, +888, +979.
NO_COUNTRY = phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY

_UNKNOWN_ZONE = "Etc/Unknown"


@dataclass(frozen=True)
class DialPlan:
    """How the deployment reads and dials what is written: `home_region` (ISO 3166) is the country
    of national numbers, `sip_domain` the PBX's; empty: extensions cannot be dialed."""

    home_region: str
    sip_domain: str


@dataclass(frozen=True)
class Telephone:
    """`number`: E.164. `region` and `type` None: no country has this code."""

    number: str
    region: str | None = None
    type: NumberType | None = None
    valid: bool = False

    @cached_property
    def zones(self) -> tuple[str, ...]:
        """Every time zone that it may be in (tz database names); none: nobody knows."""
        from phonenumbers import timezone  # noqa: PLC0415  (a large table, needed by few)

        found = timezone.time_zones_for_number(phonenumbers.parse(self.number))
        return tuple(zone for zone in found if zone != _UNKNOWN_ZONE)


@dataclass(frozen=True)
class Destination:
    """`telephones`: all that may ring (`phone_numbers.telephones`), each to be judged; none: an
    extension or a sip: address, whose lines are a PBX's affair."""

    address: str
    telephones: tuple[Telephone, ...] = ()

    @property
    def is_telephone(self) -> bool:
        return bool(self.telephones)

    @property
    def number(self) -> str:
        """What is counted: the telephone's number, else the address."""
        return self.telephones[0].number if self.telephones else self.address

    @property
    def region(self) -> str | None:
        return self.telephones[0].region if self.telephones else None

    @property
    def kind(self) -> str:
        """For people: the type of line, or what else it is."""
        if self.telephones and self.telephones[0].type:
            return str(self.telephones[0].type)
        return "extension" if addresses.is_extension(self.address) else "sip"

    @property
    def zones(self) -> tuple[str, ...]:
        """Every time zone that whoever is called may be in; none: nobody knows."""
        return tuple(sorted({zone for telephone in self.telephones for zone in telephone.zones}))


def of(address: str, home_region: str) -> Destination:
    """`address` as `addresses.parse` writes it, or empty."""
    numbers = phone_numbers.telephones(address, home_region)
    return Destination(address, tuple(telephone(number) for number in numbers))


def telephone(number: str) -> Telephone:
    """`number`: E.164."""
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
