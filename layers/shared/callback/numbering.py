"""Telephone numbers: which country's, of which kind, and how people write them."""

import re

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")

# The telephone of somebody: no premium, shared-cost, personal, satellite or freephone number.
_PLAIN = frozenset(
    {
        PhoneNumberType.FIXED_LINE,
        PhoneNumberType.MOBILE,
        PhoneNumberType.FIXED_LINE_OR_MOBILE,
    }
)


REGIONS = frozenset(phonenumbers.SUPPORTED_REGIONS)  # countries that have numbers, ISO 3166


def is_e164(text: str) -> bool:
    return _E164.fullmatch(text) is not None


def region(number: str) -> str | None:
    """ISO 3166 code of an E.164 number's country, "001" if it is no country's; None: not valid."""
    parsed = _parsed(number, None)
    return phonenumbers.region_code_for_number(parsed) if parsed else None


def is_plain(number: str) -> bool:
    """Whether an E.164 number is valid and a fixed line or a mobile."""
    parsed = _parsed(number, None)
    # By the kind alone, a satellite telephone is a mobile.
    if parsed is None or region(number) in (None, "001"):
        return False
    return phonenumbers.number_type(parsed) in _PLAIN


def read(text: str, home: str | None) -> str | None:
    """E.164 of a number as a person in the region `home` writes it; None if it is none.

    Spaces, dashes, dots, parentheses, national and international form are all taken; letters and
    extensions are not.
    """
    parsed = _parsed(text, home)
    has_letters = any(character.isalpha() for character in text)
    if parsed is None or has_letters or parsed.extension:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def _parsed(text: str, home: str | None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(text, home)
    except phonenumbers.NumberParseException:
        return None
