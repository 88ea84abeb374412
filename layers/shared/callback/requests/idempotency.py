"""The same POST twice is one callback and one answer (IETF Idempotency-Key, draft-07).

A key belongs to its tenant and lasts 24 hours. It is stored in the same transaction as the
callback, so either both exist or neither; the answer is added when it is given. A process that
dies in between leaves a key without an answer: after the time that no process can outlive, the
same request completes the callback instead of making another.
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

if TYPE_CHECKING:  # the webhook path must not pay for the validation library
    from pydantic import BaseModel

    from callback.errors import CallbackError
    from callback.lifecycle.models import Callback

# Longer than the function that answers may run (template.yaml: CallbackApi's Timeout).
_STILL_RUNNING = timedelta(seconds=30)

_TEXT = r"[A-Za-z0-9_-]{16,255}"
KEY_PATTERN = f'{_TEXT}|"{_TEXT}"'
_KEY = re.compile(KEY_PATTERN)
KEY_RULE = "Send 16 to 255 letters, digits, '-' or '_', such as a UUID."


class Responses(Protocol):
    """The API's rendering of what became of a request, kept for a repetition.

    It promises to repeat a response byte for byte, so it is what renders it and reads it again.
    """

    def accepted(self, callback: "Callback") -> Response: ...

    def refused(self, refusal: "CallbackError") -> Response: ...

    def is_refusal(self, answer: Response) -> bool: ...


def key_of(header: str | None, request: "BaseModel", *, required: bool) -> Key | None:
    """Both forms are taken, bare and quoted (RFC 8941 string).

    Raises IdempotencyKeyMissing and InvalidIdempotencyKey.
    """
    if header is None:
        if required:
            raise IdempotencyKeyMissing("Send a fresh Idempotency-Key with every new request.")
        return None
    match = _KEY.fullmatch(header)
    if match is None:
        raise InvalidIdempotencyKey(KEY_RULE)
    canonical = json.dumps(request.model_dump(mode="json"), sort_keys=True)
    return Key(match[0].strip('"'), hashlib.sha256(canonical.encode()).hexdigest())


def answer_given(key: Key, used: Used, now: datetime) -> Response | None:
    """What the first request with this key was answered. None: whoever was to answer died.

    Raises IdempotencyKeyReused, and RequestInProgress while it may still be answered.
    """
    if used.fingerprint != key.fingerprint:
        raise IdempotencyKeyReused("Send another key: this one belongs to another request.")
    if used.response is None and now - used.stored_at < _STILL_RUNNING:
        raise RequestInProgress("Ask again in a moment.", headers={"Retry-After": "1"})
    return used.response
