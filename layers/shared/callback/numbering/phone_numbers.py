"""Telephone numbers: their country, their type, and the ways in which people write them."""

import re
from collections.abc import Iterator
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType

from callback.numbering import addresses

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")

# Ordinary telephones: no premium, shared-cost, personal, satellite or freephone numbers.
_PLAIN = frozenset(
    {
        PhoneNumberType.FIXED_LINE,
        PhoneNumberType.MOBILE,
        PhoneNumberType.FIXED_LINE_OR_MOBILE,
    }
)


# Digits that a PBX needs for an outside line, or a trunk prefix.
OUTSIDE_LINE = ("0", "8", "9")

# International prefixes: of nearly every country, and of North America. A PBX may be in another
# region than home. `phonenumbers` knows the other prefixes of the home region.
_INTERNATIONAL = ("00", "011")

# Up to this many digits are an extension, unless the home region has telephone numbers as short.
_SHORT = 7

# One request asks about the same few addresses again and again. Few are kept: a process should
# remember no more numbers than it works on.
REMEMBERED = 32

REGIONS = frozenset(phonenumbers.SUPPORTED_REGIONS)  # countries that have numbers, ISO 3166


def is_e164(text: str) -> bool:
    return _E164.fullmatch(text) is not None


def region(number: str) -> str | None:
    """ISO 3166 code of an E.164 number's country. "001": no country. None: an invalid number."""
    parsed = _parsed(number, None)
    return phonenumbers.region_code_for_number(parsed) if parsed else None


def is_plain(number: str) -> bool:
    """Whether an E.164 number is a valid fixed line or mobile."""
    parsed = _parsed(number, None)
    # By its type alone, a satellite telephone is a mobile.
    if parsed is None or region(number) in (None, "001"):
        return False
    return phonenumbers.number_type(parsed) in _PLAIN


def read(text: str, home: str | None) -> str | None:
    """Parse a number as a person in the region `home` writes it. Returns E.164, or None.

    Spaces, dashes, dots, parentheses, national and international forms are accepted. Letters and
    extensions are not.
    """
    parsed = _parsed(text, home)
    has_letters = any(character.isalpha() for character in text)
    if parsed is None or has_letters or parsed.extension:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


@lru_cache(REMEMBERED)
def telephones(address: str, home: str | None) -> tuple[str, ...]:
    """E.164 of every telephone that may ring for `address`: usually one; none for an extension or
    a word.

    Digits for a PBX are interpreted as if the PBX were in the region `home` and dialed outward.
    They may be international (with a +, with a prefix, or with neither) or national, each also
    after a digit for an outside line. If several readings are possible, all are returned, the
    national ones first. A reading must be a valid number, except for an E.164 address and for
    digits that can only be a number (after a + or an international prefix). If `home` is None, only
    readings that are the same in every region are returned.
    """
    dialed = addresses.pbx_digits(address)
    if dialed is None:
        return ()
    if is_e164(dialed) and (number := _valid(_parsed(dialed, None))):
        return (number,)
    if addresses.is_number(address):
        return (address,)
    digits = dialed.removeprefix("+")
    valid = tuple(dict.fromkeys(filter(None, map(_valid, _readings(digits, home)))))
    if valid or is_e164(dialed):
        return valid or (dialed,)
    return tuple(dict.fromkeys(filter(_is_possible, _prefixed(digits))))


def _readings(digits: str, home: str | None) -> Iterator[PhoneNumber | None]:
    """The possible meanings of the digits, valid or not. None: no meaning."""
    if len(digits) <= _SHORT:
        # In regions without a trunk prefix, such a short number is dialed without any prefix.
        trunk = phonenumbers.ndd_prefix_for_region(home, strip_non_digits=True) if home else ""
        if trunk is None and len(digits) == _SHORT:
            yield _parsed(digits, home)
        return
    for outward in _outward(digits):
        yield _parsed(outward, home)
    for outward in _outward(digits):
        yield _parsed(f"+{outward}", None)
    for number in _prefixed(digits):
        yield _parsed(number, None)


def _outward(digits: str) -> Iterator[str]:
    """The digits that leave the PBX: all, or those after the digit for an outside line."""
    yield digits
    if digits.startswith(OUTSIDE_LINE):
        yield digits[1:]


def _prefixed(digits: str) -> Iterator[str]:
    """The number after an international prefix, with a +."""
    for outward in _outward(digits):
        for prefix in _INTERNATIONAL:
            if outward.startswith(prefix):
                yield f"+{outward.removeprefix(prefix)}"


def _valid(number: PhoneNumber | None) -> str | None:
    """E.164 of a valid number, otherwise None.

    It omits a trunk prefix after the country code, as in +44 020, because carriers omit it.
    """
    if number is None or not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _is_possible(number: str) -> bool:
    """Whether the number's length is possible."""
    parsed = _parsed(number, None)
    reason = parsed and phonenumbers.is_possible_number_with_reason(parsed)
    return reason == phonenumbers.ValidationResult.IS_POSSIBLE


def _parsed(text: str, home: str | None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(text, home)
    except phonenumbers.NumberParseException:
        return None
