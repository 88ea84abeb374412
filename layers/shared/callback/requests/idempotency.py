"""Repeated POSTs make one callback and get one response (IETF Idempotency-Key, draft-07).

A key belongs to its tenant and lasts 24 hours. It is stored in the same transaction as the
callback, so both exist or neither. The response is added when it is sent. A process that dies in
between leaves a key without a response. Once that process cannot be running any more, the same
request completes its callback instead of creating another.
"""

import hashlib
import json
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from callback.errors import (
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    RequestInProgress,
)
from callback.storage.idempotency_keys import Key, Response, Used

if TYPE_CHECKING:  # the webhook path must not load the validation library
    from pydantic import BaseModel

    from callback.errors import CallbackError
    from callback.lifecycle.models import Callback

# Longer than the Timeout of CallbackApi in template.yaml.
_STILL_RUNNING = timedelta(seconds=30)

# Seconds: the default of `start_within_seconds`.
START_WITHIN = 120

_TEXT = r"[A-Za-z0-9_-]{16,255}"
KEY_PATTERN = f'{_TEXT}|"{_TEXT}"'
_KEY = re.compile(KEY_PATTERN)
KEY_RULE = "Send 16 to 255 letters, digits, '-' or '_', such as a UUID."


class Responses(Protocol):
    """The API's rendering of a request's result, which is stored for repetitions.

    The API promises the same response byte for byte, so it renders the response and reads it back.
    """

    def accepted(self, callback: "Callback") -> Response: ...

    def refused(self, refusal: "CallbackError") -> Response: ...

    def is_refusal(self, answer: Response) -> bool: ...


def key_of(header: str | None, request: "BaseModel", *, required: bool) -> Key | None:
    """Accepts a bare key and a quoted one (RFC 8941 string).

    Raises IdempotencyKeyMissing and InvalidIdempotencyKey.
    """
    if header is None:
        if required:
            raise IdempotencyKeyMissing("Send a new Idempotency-Key with every new request.")
        return None
    match = _KEY.fullmatch(header)
    if match is None:
        raise InvalidIdempotencyKey(KEY_RULE)
    fields = request.model_dump(mode="json")
    # A key that was used before this field existed keeps its fingerprint.
    if fields.get("start_within_seconds") == START_WITHIN:
        del fields["start_within_seconds"]
    canonical = json.dumps(fields, sort_keys=True)
    return Key(match[0].strip('"'), hashlib.sha256(canonical.encode()).hexdigest())


def first_response(key: Key, used: Used, now: datetime) -> Response | None:
    """The response to the first request with this key. None: its process died before responding.

    Raises IdempotencyKeyReused, and RequestInProgress while that process may still respond.
    """
    if used.fingerprint != key.fingerprint:
        raise IdempotencyKeyReused("Send another key. This one belongs to a different request.")
    if used.response is None and now - used.stored_at < _STILL_RUNNING:
        raise RequestInProgress("Send the request again in a second.", headers={"Retry-After": "1"})
    return used.response
