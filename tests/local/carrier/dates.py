"""Dates as the 2010 API writes them."""

from datetime import UTC, datetime
from email.utils import format_datetime


def rfc2822(moment: datetime) -> str:
    """`Tue, 31 Aug 2010 20:36:28 +0000`: UTC, and never another offset.

    The SDK's parser drops the offset and assumes UTC.
    """
    return format_datetime(moment.astimezone(UTC).replace(microsecond=0))


def rfc2822_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else rfc2822(moment)
