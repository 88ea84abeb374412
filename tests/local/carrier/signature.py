"""X-Twilio-Signature. Source: Twilio docs, usage/webhooks/webhooks-security."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit


def signed_url(url: str) -> str:
    """The URL as it is signed: no fragment, no user info; https drops the port, http keeps it."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme == "https" and parts.port is not None:
        host = host.rpartition(":")[0]
    return urlunsplit((parts.scheme, host, parts.path, parts.query, ""))


def sign(auth_token: str, url: str, form: Iterable[tuple[str, str]] = ()) -> str:
    """Base64 HMAC-SHA1 over the URL and the form's distinct pairs, sorted by code point.

    `url` is taken as it is; pass it through `signed_url` first.
    """
    data = url + "".join(name + value for name, value in sorted(set(form)))
    digest = hmac.new(auth_token.encode(), data.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()
