"""What must never be dialed, decided before anything is stored or spent."""

import phonenumbers
from phonenumbers import shortnumberinfo

from callback.numbering import addresses, phone_numbers

# Reach emergency services, or their test lines, in most networks whatever the region.
_EVERYWHERE = frozenset({"112", "911", "999", "000", "933"})
# The same behind a digit for an outside line. The others are as likely extensions, such as 9000.
_OUTSIDE = frozenset({"112", "911"})


def is_emergency(address: str, home_region: str) -> bool:
    """Whether dialing this could reach emergency services.

    Twilio does place emergency calls through its API (Twilio docs, emergency calling), and a
    PBX behind an extension may too, so extensions and sip: users are judged as if dialed on a
    phone in `home_region` (ISO 3166 code, e.g. "US"), also behind a digit for an outside line.
    """
    number = addresses.dialed(address) or addresses.user_part(address)
    digits = number.lstrip("+")  # which a PBX may not mind
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
    regions = phonenumbers.region_codes_for_country_code(parsed.country_code or 0)
    return any(shortnumberinfo.is_emergency_number(national, region) for region in regions)
