"""What can be dialed: an E.164 number, a short extension, or a sip: address.

ASCII only, and the whole text must match: a trailing newline or full-width digits are not a
number, whatever `str.isdigit` says.
"""

import re

from callback.errors import CallbackError

_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_EXTENSION = re.compile(r"[0-9]{2,15}")
_SIP = re.compile(
    r"sip:(?P<user>[A-Za-z0-9._+-]{1,64})@(?P<host>[A-Za-z0-9.-]{1,253})(:[0-9]{1,5})?"
)
_FORMS = (_NUMBER, _EXTENSION, _SIP)

# The same for JSON Schema, whose regular expressions have no named groups.
PATTERN = f"^({'|'.join(re.sub(r'[?]P<[a-z]+>', '', form.pattern) for form in _FORMS)})$"


class InvalidAddress(CallbackError):
    status = 400
    code = "invalid_address"
    title = "Not an address that can be called"


def parse(text: str) -> str:
    """The address as stored, unchanged. Raises InvalidAddress saying what is accepted."""
    for form in _FORMS:
        if form.fullmatch(text):
            return text
    raise InvalidAddress(
        "Give an E.164 number such as +14155550123, an extension of 2 to 15 digits,"
        " or a sip: address such as sip:alice@pbx.example.com."
    )


def is_number(address: str) -> bool:
    return address.startswith("+")


def is_extension(address: str) -> bool:
    return _EXTENSION.fullmatch(address) is not None


def user_part(address: str) -> str:
    """What identifies the party: the number, the extension, or the user of a sip: address."""
    sip = _SIP.fullmatch(address)
    return sip["user"] if sip else address


def sip_host(address: str) -> str | None:
    """The host of a sip: address, in lower case and without its port."""
    sip = _SIP.fullmatch(address)
    return sip["host"].lower() if sip else None


def dial_target(address: str, sip_domain: str) -> str:
    """What the carrier is asked to call. An extension rings as sip:<extension>@<domain>."""
    return f"sip:{address}@{sip_domain}" if is_extension(address) else address
