"""Is this webhook really the carrier's?

Twilio signs the URL it was given plus every form field, blank ones included (Twilio docs,
webhooks-security). The URL is built from our configured public URL and the route's own path,
never from Host or X-Forwarded-*, which anybody can set.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl

from aws_lambda_powertools import Logger
from twilio.request_validator import RequestValidator

from callback.carrier.credentials import CredentialStore
from callback.errors import Forbidden

logger = Logger(child=True)

Shapes = Mapping[str, re.Pattern[str]]
_WORD = re.compile(r"[a-z][a-z-]{0,31}")
_CALL_SID = re.compile(r"CA[0-9a-f]{32}")
OF_A_CALL: Shapes = {"CallSid": _CALL_SID, "CallStatus": _WORD}
OF_A_ROOM: Shapes = {"StatusCallbackEvent": _WORD}
# Who calls or texts may be a number, a short code, a name or a sip: address, or withheld.
_PARTY = re.compile(r"[ -~]{0,256}")
_PARTIES: Shapes = {"From": _PARTY, "To": _PARTY}
OF_AN_INBOUND_CALL: Shapes = {**OF_A_CALL, **_PARTIES}
OF_A_TEXT: Shapes = {"MessageSid": re.compile(r"(SM|MM)[0-9a-f]{32}"), **_PARTIES}

_MAX_BODY_BYTES = 64 * 1024  # a carrier's form is about 1 kB


class Form(dict[str, str]):
    """A decoded form: the last value of each field, and `getall` for repeated ones."""

    def __init__(self, body: str) -> None:
        self._pairs = parse_qsl(body, keep_blank_values=True)
        super().__init__(self._pairs)

    def getall(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]


def is_genuine(url: str, form: Form | str, signature: str, tokens: Iterable[str]) -> bool:
    """`form` is a raw string for a JSON body, whose hash is then part of the URL."""
    return any(RequestValidator(token).validate(url, form, signature) for token in tokens)


def genuine_form(
    url: str,
    body: bytes,
    signature: str | None,
    credentials: CredentialStore,
    shapes: Shapes = MappingProxyType({}),
) -> Form:
    """The form of a webhook that our own carrier account sent to this very URL.

    `shapes` are the fields that are acted upon. What is signed runs names and values together,
    so a genuine request with the boundary moved carries a right signature, and only the shape
    of its fields tells. Raises Forbidden. A token that was just rotated is fetched anew, once.
    """
    form = _form(body)
    known = credentials.get()
    if form is None or not signature or form.get("AccountSid") != known.account_sid:
        raise _forged()
    if not all(shape.fullmatch(form.get(field, "")) for field, shape in shapes.items()):
        raise _forged()
    if is_genuine(url, form, signature, known.accepted_tokens):
        return form
    rotated = credentials.refetch()
    if rotated and is_genuine(url, form, signature, rotated.accepted_tokens):
        return form
    raise _forged()


def _form(body: bytes) -> Form | None:
    if len(body) > _MAX_BODY_BYTES:
        return None
    try:
        return Form(body.decode())
    except ValueError:  # not UTF-8, or too many fields to be a form
        return None


def _forged() -> Forbidden:
    logger.warning("a webhook did not carry the carrier's signature")
    return Forbidden("The carrier's signature is missing or wrong.")
