"""Addresses that can be dialed: an E.164 number, a short extension, or a sip: address.

The whole text must match, in ASCII only. A trailing newline or full-width digits are not accepted,
although `str.isdigit` accepts the latter.
"""

import re

from callback.errors import CallbackError

_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
SHORTEST_EXTENSION, LONGEST_EXTENSION = 2, 15  # digits
_EXTENSION = re.compile(rf"[0-9]{{{SHORTEST_EXTENSION},{LONGEST_EXTENSION}}}")
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # of a domain name (RFC 1035, 2.3.4)
_PORT = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_SIP = re.compile(
    rf"sip:(?P<user>[A-Za-z0-9._+-]{{1,64}})@(?P<host>{_LABEL}(\.{_LABEL})*)(:({_PORT}))?"
)
_LONGEST_HOST = 253  # bytes of a domain name, written with dots (RFC 1035, 2.3.4)
# Digits with visual separators (RFC 3966, 5.1.1), optionally followed by post-dial digits, which a
# telephone dials after the answer (RFC 2806, 2.2).
_DIALED = re.compile(r"(?P<dialed>[+.-]*[0-9][0-9+.-]*)(([pwx]|ext).*)?", re.IGNORECASE)
_FORMS = (_NUMBER, _EXTENSION, _SIP)

# The same for JSON Schema: its regular expressions have no named groups.
PATTERN = f"^({'|'.join(re.sub(r'[?]P<[a-z]+>', '', form.pattern) for form in _FORMS)})$"


class InvalidAddress(CallbackError):
    status = 400
    code = "invalid_address"
    title = "Invalid address"


def parse(text: str) -> str:
    """The address as stored, unchanged. Raises InvalidAddress, which lists the accepted forms."""
    host = text.partition("@")[2].partition(":")[0]
    if len(host) <= _LONGEST_HOST and any(form.fullmatch(text) for form in _FORMS):
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
    """The part that identifies the party: number, extension, or the user of a sip: address."""
    sip = _SIP.fullmatch(address)
    return sip["user"] if sip else address


def pbx_digits(address: str) -> str | None:
    """The digits that a PBX would dial for a party, after a + if the address has one.

    None if the user of a sip: address is a word.
    """
    match = _DIALED.fullmatch(user_part(address))
    if match is None:
        return None
    plus = "+" if match["dialed"].lstrip(".-").startswith("+") else ""
    return plus + re.sub("[^0-9]", "", match["dialed"])


def sip_host(address: str) -> str | None:
    """The host of a sip: address, in lower case and without a port. None for other addresses."""
    sip = _SIP.fullmatch(address)
    return sip["host"].lower() if sip else None


def dial_target(address: str, sip_domain: str) -> str:
    """The address in the carrier's create request: one text per telephone.

    An extension becomes sip:<extension>@<domain>. The host of a sip: address is case-insensitive,
    its user is not (RFC 3261, 19.1.4).
    """
    if is_extension(address):
        address = f"sip:{address}@{sip_domain}"
    user, at, host = address.partition("@")
    return user + at + host.lower()
