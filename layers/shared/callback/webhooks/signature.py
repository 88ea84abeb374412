"""Signs webhooks to clients: Standard Webhooks 1.0.0, symmetric signatures (`v1`).

How clients verify them: README.md of this package, "Verify the signature".
"""

import base64
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime

_PREFIX = "whsec_"
_SECRET_BYTES = 32  # the specification requires 24 to 64


def new_secret() -> str:
    """`whsec_` and base64 of random bytes."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def headers(message_id: str, body: str, at: datetime, keys: Iterable[str]) -> dict[str, str]:
    """The headers for a `body` sent at `at`, with one signature for each secret of `keys`."""
    timestamp = str(int(at.timestamp()))
    content = f"{message_id}.{timestamp}.{body}".encode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{_signature(key, content)}" for key in keys),
    }


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    return base64.b64encode(hmac.digest(key, content, "sha256")).decode()
