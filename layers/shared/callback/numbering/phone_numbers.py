"""Telephone numbers: which country's, of which kind, and how people write them."""

import re
from collections.abc import Iterator

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType

from callback.numbering import addresses

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")

# The telephone of somebody: no premium, shared-cost, personal, satellite or freephone number.
_PLAIN = frozenset(
    {
        PhoneNumberType.FIXED_LINE,
        PhoneNumberType.MOBILE,
        PhoneNumberType.FIXED_LINE_OR_MOBILE,
    }
)


# Dialed at a PBX to get a line to the outside, or as a trunk prefix.
OUTSIDE_LINE = ("0", "8", "9")

# Before a country code: of nearly every country, and of North America. A PBX may stand elsewhere
# than at home; what else is dialed at home, `phonenumbers` knows.
_INTERNATIONAL = ("00", "011")

# So many digits are an extension, where no telephone number is as short at home.
_SHORT = 7

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


def telephones(address: str, home: str | None) -> tuple[str, ...]:
    """E.164 of every telephone that may ring if `address` is called: one as a rule, none where it
    is an extension or a word.

    What a PBX is asked to dial is judged as if it stood in the region `home` and led outward:
    international, with a + or a prefix or neither, or as at home; each also after a digit for an
    outside line. Digits may have several such readings, and nobody knows which holds: those at
    home come first. Only a number itself, and what can be nothing else (after a + or an
    international prefix), may be one that does not exist. `home` None: what is read alike
    everywhere.
    """
    dialed = addresses.dialed(address)
    if dialed is None:
        return ()
    if is_e164(dialed) and (number := _valid(_parsed(dialed, None))):
        return (number,)
    if addresses.is_number(address):
        return (address,)
    digits = dialed.removeprefix("+")
    found = tuple(dict.fromkeys(filter(None, map(_valid, _readings(digits, home)))))
    if found or is_e164(dialed):
        return found or (dialed,)
    return tuple(dict.fromkeys(filter(_is_possible, _prefixed(digits))))


def _readings(digits: str, home: str | None) -> Iterator[PhoneNumber | None]:
    """What they may mean, whether it exists or not; None: nothing."""
    if len(digits) <= _SHORT:
        # Where numbers are dialed without a trunk prefix, one as short is dialed as it stands.
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
    """What leaves the PBX: all of it, or what follows the digit for an outside line."""
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
    """E.164 of a number that exists: without a trunk prefix after the country code, as in +44 020,
    which carriers leave out."""
    if number is None or not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _is_possible(number: str) -> bool:
    """By how long it is."""
    parsed = _parsed(number, None)
    reason = parsed and phonenumbers.is_possible_number_with_reason(parsed)
    return reason == phonenumbers.ValidationResult.IS_POSSIBLE


def _parsed(text: str, home: str | None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(text, home)
    except phonenumbers.NumberParseException:
        return None
