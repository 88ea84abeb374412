"""A place in a list, as clients carry it from one page to the next: opaque to them."""

import base64
import binascii

from callback.errors import InvalidRequest


def of(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def position_in(cursor: str) -> str:
    """The place, whatever it is: whose list it is in is not for the client to say.

    Raises InvalidRequest for what `of` never gave."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, b"-_", validate=True).decode()
    except (binascii.Error, ValueError):  # not base64, not ASCII, not UTF-8
        raise invalid() from None


def invalid() -> InvalidRequest:
    return InvalidRequest.of_field(
        "cursor", "invalid_cursor", "Use a cursor as the previous page gave it."
    )
