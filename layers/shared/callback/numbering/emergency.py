"""Emergency numbers. They are never dialed; the check precedes all storage and cost."""

from functools import lru_cache

import phonenumbers
from phonenumbers import shortnumberinfo

from callback.numbering import addresses, phone_numbers

# These reach emergency services or their test lines in most networks of all regions.
_EVERYWHERE = frozenset({"112", "911", "999", "000", "933"})
# The same behind a digit for an outside line. The others may be extensions there, such as 9000.
_OUTSIDE = frozenset({"112", "911"})
# Digits, in any region. A country code such as +1 has 25 regions, and each is asked.
LONGEST = 6


@lru_cache(phone_numbers.REMEMBERED)
def is_emergency(address: str, home_region: str) -> bool:
    """Whether dialing this address could reach emergency services.

    Twilio's API places emergency calls (Twilio docs, emergency calling). A PBX behind an extension
    may place them, too. Extensions and sip: users are therefore checked as if dialed on a telephone
    in `home_region` (ISO 3166, such as "US"), also behind a digit for an outside line.
    """
    number = addresses.pbx_digits(address) or addresses.user_part(address)
    digits = number.lstrip("+")  # a PBX may ignore the +
    if digits in _EVERYWHERE or shortnumberinfo.is_emergency_number(digits, home_region):
        return True
    if digits.startswith(phone_numbers.OUTSIDE_LINE):
        outside = digits[1:]
        if outside in _OUTSIDE or shortnumberinfo.is_emergency_number(outside, home_region):
            return True
    if digits == number:
        return False
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return False
    national = str(parsed.national_number)
    if len(national) > LONGEST:
        return False
    regions = phonenumbers.region_codes_for_country_code(parsed.country_code or 0)
    return any(shortnumberinfo.is_emergency_number(national, region) for region in regions)
