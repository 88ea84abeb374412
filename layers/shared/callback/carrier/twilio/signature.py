"""Verify that Twilio sent a webhook.

Twilio signs the URL that we configured and every form field, blank ones included (Twilio docs,
webhooks-security). We build the URL from our public URL and the path of the route. We never use
Host or X-Forwarded-*, which any client can set.
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
# A party is a number, a short code, a name, a sip: address or withheld.
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
    """Whether one of the tokens made the signature. A JSON body is passed as a raw string: its hash
    is part of the URL."""
    return any(RequestValidator(token).validate(url, form, signature) for token in tokens)


def genuine_form(
    url: str,
    body: bytes,
    signature: str | None,
    credentials: CredentialStore,
    shapes: Shapes = MappingProxyType({}),
) -> Form:
    """The form of a webhook that our own Twilio account sent to exactly this URL.

    `shapes` are patterns of the fields that the caller uses. Twilio signs names and values joined
    without separators, so the signature stays valid if a boundary between them is moved. Only the
    shapes reveal that. If the signature is wrong, the token may just have been rotated: it is
    fetched again, once. Raises Forbidden.
    """
    form = _form(body)
    cached = credentials.get()
    if form is None or not signature or form.get("AccountSid") != cached.account_sid:
        raise _forbidden()
    if not all(shape.fullmatch(form.get(field, "")) for field, shape in shapes.items()):
        raise _forbidden()
    if is_genuine(url, form, signature, cached.accepted_tokens):
        return form
    latest = credentials.refetch()
    if latest and is_genuine(url, form, signature, latest.accepted_tokens):
        return form
    raise _forbidden()


def _form(body: bytes) -> Form | None:
    if len(body) > _MAX_BODY_BYTES:
        return None
    try:
        return Form(body.decode())
    except ValueError:  # not UTF-8, or too many fields
        return None


def _forbidden() -> Forbidden:
    logger.warning("a webhook lacks the carrier's signature")
    return Forbidden("The carrier's signature is missing or wrong.")
