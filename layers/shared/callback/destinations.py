"""Where an address leads: a country and a type of line, as `phonenumbers` knows them.

Never by prefix: +44 7911 is Guernsey's and +1 809 the Dominican Republic's, whatever they look
like, and the plans change every month.
"""

from dataclasses import dataclass
from functools import cached_property

import phonenumbers

from callback import addresses
from callback.policy import NumberType

# Satellites, international networks, shared premium: +870, +878, +881, +882, +883, +888, +979.
NO_COUNTRY = phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY

_UNKNOWN_ZONE = "Etc/Unknown"


@dataclass(frozen=True)
class Destination:
    """`region` and `type` None: an extension or a sip: address, whose lines are a PBX's affair."""

    address: str
    region: str | None = None
    type: NumberType | None = None
    valid: bool = True

    @property
    def is_number(self) -> bool:
        return addresses.is_number(self.address)

    @property
    def kind(self) -> str:
        """For people: the type of line, or what else it is."""
        if self.type:
            return str(self.type)
        return "extension" if addresses.is_extension(self.address) else "sip"

    @cached_property
    def zones(self) -> tuple[str, ...]:
        """Every time zone that a number may be in (tz database names); none: nobody knows."""
        from phonenumbers import timezone  # noqa: PLC0415  (a large table, needed by few)

        found = timezone.time_zones_for_number(phonenumbers.parse(self.address))
        return tuple(zone for zone in found if zone != _UNKNOWN_ZONE)


def of(address: str) -> Destination:
    """`address` as `addresses.parse` writes it."""
    if not addresses.is_number(address):
        return Destination(address)
    try:
        number = phonenumbers.parse(address)
    except phonenumbers.NumberParseException:  # no country has this code
        return Destination(address, valid=False)
    kind = phonenumbers.PhoneNumberType.to_string(phonenumbers.number_type(number))
    return Destination(
        address,
        region=phonenumbers.region_code_for_number(number),
        type=NumberType(kind.lower()),
        valid=phonenumbers.is_valid_number(number),
    )
