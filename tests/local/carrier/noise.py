"""Filters aiohttp's log.

A request that is not valid HTTP is the client's error: aiohttp answers 400, but also logs a
traceback, which is dropped here. A crash of our own is still logged.
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
