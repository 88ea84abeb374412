"""POST to a URL that a client chose, and to public addresses only (protection against SSRF).

A host name is resolved once. All its addresses are checked, and the connection goes to one of them,
so a name that resolves differently a moment later changes nothing (DNS rebinding). No redirect is
followed and no proxy is used. TLS is verified for the name. A POST takes at most 15 s in all,
however slowly the server sends. Only the response's head is read, at most 4 KB. Nothing is
decompressed or kept.
"""

import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from urllib.parse import urlsplit

SECONDS = 15.0  # for the whole POST
_CONNECT_SECONDS = 5.0  # for each address
_HEAD_BYTES = 4096
LONGEST_URL = 2048

# Printable ASCII without the backslash, which browsers read as a slash. `urlsplit` strips
# whitespace and control characters, so it would check a URL other than the one sent.
URL_PATTERN = r"^https://[!-\[\]-~]+$"
_URL = re.compile(URL_PATTERN)
_NAME = re.compile(r"(?=.{1,253}\Z)(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |\r\n|\Z)")
_RETRY_AFTER = re.compile(rb"\r\nretry-after:[ \t]*([ -~]{1,64}?)[ \t]*(?=\r\n)", re.IGNORECASE)

# All public addresses lie in this network (IANA IPv6 Global Unicast Address Space). NAT64
# (64:ff9b::/96), IPv4-mapped and -compatible addresses and multicast lie outside it.
_IPV6_UNICAST = ipaddress.IPv6Network("2000::/3")

# Python 3.11 considers some of these global, and later versions of Python differ from each other.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, the cloud's metadata among it
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments, 192.0.0.8 among them
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # IETF protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)


class NotAllowed(ValueError):
    """We do not send to this URL. `code` is stable, the message is a sentence for a person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Unreachable(Exception):
    """There was no HTTP response. `code`, which is stable, says what happened instead."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Target(NamedTuple):
    """`path` includes the query."""

    host: str
    port: int
    path: str


class Response(NamedTuple):
    """`retry_after` is the header as it was sent: seconds, or an HTTP date."""

    status: int
    retry_after: str | None


def is_public(address: str) -> bool:
    """Whether the text is a public IP address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip.version == 6 and ip not in _IPV6_UNICAST:
        return False
    return ip.is_global and not any(ip in network for network in _NOT_PUBLIC)


def resolve_host(host: str) -> list[str]:
    """All IP addresses of a host name, from the system's resolver. Raises OSError."""
    entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


@dataclass(frozen=True)
class Rules:
    """The URLs that we send to. Rules other than PUBLIC are for tests: nothing in the environment
    changes them."""

    permits: Callable[[str], bool] = is_public
    ports: frozenset[int] = frozenset({443})

    def target_of(self, url: str) -> Target:
        """Parse and check the URL, without resolving its host. Raises NotAllowed."""
        if len(url) > LONGEST_URL or not _URL.fullmatch(url):
            raise _bad_url("Give an https:// URL of printable ASCII characters, without \\.")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", 443 if parts.port is None else parts.port
        except ValueError:
            raise _bad_url("Give a URL with a valid host, and with port 443 or none.") from None
        if "@" in parts.netloc or parts.fragment:
            raise _bad_url("Give a URL without a user, a password or a fragment.")
        if port not in self.ports:
            raise _bad_url("Use port 443, or omit the port.")
        literal = _literal(host)
        if literal is None and not _NAME.fullmatch(host):
            raise _bad_url("Give a URL with a host name in ASCII (IDNA).")
        if literal:
            self.check_addresses([literal])
        query = f"?{parts.query}" if parts.query else ""
        return Target(host, port, (parts.path or "/") + query)

    def check_addresses(self, addresses: list[str]) -> None:
        """Raises NotAllowed unless every address is permitted."""
        if not all(self.permits(address) for address in addresses):
            raise NotAllowed("address_not_allowed", "The host has an address that is not public.")


PUBLIC = Rules()


class Sender:
    def __init__(
        self,
        rules: Rules = PUBLIC,
        resolve: Callable[[str], list[str]] = resolve_host,
        context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self.rules = rules
        self._resolve = resolve
        self._make_context = context

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """Made at the first POST, because it loads all certificate authorities."""
        return self._make_context()

    def check(self, url: str) -> None:
        """Check the URL and the addresses that its host has now. Raises NotAllowed."""
        try:
            self._addresses_of(self.rules.target_of(url))
        except Unreachable:
            raise NotAllowed("host_not_found", "The host name cannot be resolved.") from None

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Response:
        """Send one POST, and wait at most SECONDS for its response.

        Raises NotAllowed, and Unreachable where no HTTP response arrives."""
        deadline = time.monotonic() + SECONDS
        target = self.rules.target_of(url)
        request = _render_request(target, body, headers)
        try:
            with self._connect(target, self._addresses_of(target), deadline) as connection:
                connection.settimeout(_remaining(deadline))
                connection.sendall(request)
                return _read_response(connection, deadline)
        except TimeoutError:
            raise Unreachable("timed_out") from None
        except ssl.SSLError:
            raise Unreachable("tls_failed") from None
        except OSError:
            raise Unreachable("connection_failed") from None

    def _addresses_of(self, target: Target) -> list[str]:
        literal = _literal(target.host)
        try:
            addresses = [literal] if literal else self._resolve(target.host)
        except (OSError, UnicodeError):  # UnicodeError for a label that IDNA cannot encode
            raise Unreachable("name_not_resolved") from None
        if not addresses:
            raise Unreachable("name_not_resolved")
        self.rules.check_addresses(addresses)
        return addresses

    def _connect(self, target: Target, addresses: list[str], deadline: float) -> ssl.SSLSocket:
        """Connect to the first of the addresses that accepts. Raises OSError."""
        last_error: OSError = OSError()
        for address in addresses:
            try:
                plain = socket.create_connection(
                    (address, target.port), timeout=min(_CONNECT_SECONDS, _remaining(deadline))
                )
            except OSError as error:
                last_error = error
                continue
            try:
                plain.settimeout(_remaining(deadline))
                return self._context.wrap_socket(plain, server_hostname=target.host)
            except OSError:
                plain.close()
                raise
        raise last_error


def _bad_url(detail: str) -> NotAllowed:
    return NotAllowed("url_not_allowed", detail)


def _literal(host: str) -> str | None:
    """The host if it is an IP address, None if it is a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _remaining(deadline: float) -> float:
    """Seconds until the deadline. Raises TimeoutError."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _render_request(target: Target, body: bytes, headers: Mapping[str, str]) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    port = "" if target.port == 443 else f":{target.port}"
    lines = [
        f"POST {target.path} HTTP/1.1",
        f"Host: {host}{port}",
        "User-Agent: voice-callback",
        "Accept-Encoding: identity",
        "Connection: close",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def _read_response(connection: ssl.SSLSocket, deadline: float) -> Response:
    """The first response that is not interim (1xx)."""
    received = b""
    while True:
        received = _read_head(connection, received, deadline)
        head, blank, rest = received.partition(b"\r\n\r\n")
        if not blank and len(head) < _HEAD_BYTES:
            raise Unreachable("connection_failed")
        status = _STATUS.match(head)
        if status is None:
            raise Unreachable("not_http")
        if not status[1].startswith(b"1"):
            retry_after = _RETRY_AFTER.search(head + b"\r\n")
            return Response(int(status[1]), retry_after[1].decode() if retry_after else None)
        received = rest


def _read_head(connection: ssl.SSLSocket, received: bytes, deadline: float) -> bytes:
    """`received` and what follows it, up to the end of a head, _HEAD_BYTES or the last byte."""
    while b"\r\n\r\n" not in received and len(received) < _HEAD_BYTES:
        connection.settimeout(_remaining(deadline))
        part = connection.recv(_HEAD_BYTES - len(received))
        if not part:
            break
        received += part
    return received
