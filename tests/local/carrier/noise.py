"""Which of aiohttp's complaints are worth printing.

What comes in and is no HTTP is answered 400, and is whoever's who sent it; aiohttp prints a
traceback of it besides. A crash of our own is still printed.
"""

import logging

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

_THEIRS = (HttpProcessingError, RequestPayloadError)


def _is_ours(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, _THEIRS)


logger = logging.getLogger(__name__)
logger.addFilter(_is_ours)
