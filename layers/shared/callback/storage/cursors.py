"""Page cursors: a position in a list, opaque to clients."""

import base64
import binascii

from callback.errors import InvalidRequest


def encode_cursor(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The position in a cursor. It names no list: a client cannot choose one.

    Raises InvalidRequest for a text that `encode_cursor` cannot have made.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, b"-_", validate=True).decode()
    except (binascii.Error, ValueError):  # not base64, not ASCII, not UTF-8
        raise invalid_cursor() from None


def invalid_cursor() -> InvalidRequest:
    return InvalidRequest.of_field(
        "cursor", "invalid_cursor", "Use the cursor of the previous page."
    )
