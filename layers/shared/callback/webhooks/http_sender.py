"""POST to an address that somebody else chose, and reach nothing that is not public (SSRF).

A name is resolved once, every address that it has is looked at, and the connection goes to one of
those very addresses: a name that means something else a moment later changes nothing. No
redirect is followed and no proxy asked, TLS is verified for the name, and everything together
takes 15 s at most, however slowly the other side speaks. Of the answer the head is read, 4 KB at
most, and nothing is decompressed or kept.
"""

import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

SECONDS = 15.0  # for all of it
_CONNECT_SECONDS = 5.0  # for each address
_HEAD_BYTES = 4096
LONGEST_URL = 2048

# Printable ASCII without the backslash, which browsers take for a slash. Whitespace and control
# characters would be stripped by `urlsplit`, so that it would judge another URL than was given.
URL_PATTERN = r"^https://[!-\[\]-~]+$"
_URL = re.compile(URL_PATTERN)
_NAME = re.compile(r"(?=.{1,253}\Z)(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |\r\n|\Z)")
_RETRY_AFTER = re.compile(rb"\r\nretry-after:[ \t]*([ -~]{1,64}?)[ \t]*(?=\r\n)", re.IGNORECASE)

# All that is in use for the public lies in here (IANA IPv6 Global Unicast Address Space), so that
# NAT64 (64:ff9b::/96), IPv4-mapped and -compatible addresses and multicast lie outside.
_IPV6_UNICAST = ipaddress.IPv6Network("2000::/3")

# Python 3.11 takes some of these for global; its later versions do not agree with each other.
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
    """We do not send there: `code` is stable, the message a sentence for a person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Unreachable(Exception):
    """No HTTP answer came; `code` says what came of it instead."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Target:
    """`path` with its query."""

    host: str
    port: int
    path: str


@dataclass(frozen=True)
class Reply:
    """`retry_after` as it was sent: seconds, or an HTTP date."""

    status: int
    retry_after: str | None


def is_public(address: str) -> bool:
    """Whether an IP address may be the public's; anything else than an IP address is not."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip.version == 6 and ip not in _IPV6_UNICAST:
        return False
    return ip.is_global and not any(ip in network for network in _NOT_PUBLIC)


def addresses(host: str) -> list[str]:
    """Every IP address that the system finds for a name. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[4][0]) for place in found))


@dataclass(frozen=True)
class Rules:
    """Where may be sent to. Other rules than PUBLIC are for tests: nothing in the environment
    changes them."""

    permits: Callable[[str], bool] = is_public
    ports: frozenset[int] = frozenset({443})

    def target_of(self, url: str) -> Target:
        """Where the URL leads, as far as it tells by itself. Raises NotAllowed."""
        if len(url) > LONGEST_URL or not _URL.fullmatch(url):
            raise _bad_url("Give an https:// URL of printable ASCII characters, without \\.")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", 443 if parts.port is None else parts.port
        except ValueError:
            raise _bad_url("Give a URL with a host, and no port but 443.") from None
        if "@" in parts.netloc or parts.fragment:
            raise _bad_url("Give a URL without a user, a password or a fragment.")
        if port not in self.ports:
            raise _bad_url("Use port 443, or leave the port out.")
        literal = _literal(host)
        if literal is None and not _NAME.fullmatch(host):
            raise _bad_url("Give a URL with the host's name, in ASCII (IDNA).")
        if literal:
            self.allow([literal])
        query = f"?{parts.query}" if parts.query else ""
        return Target(host, port, (parts.path or "/") + query)

    def allow(self, found: list[str]) -> None:
        """Raises NotAllowed unless every one of the addresses is permitted."""
        if not all(self.permits(address) for address in found):
            raise NotAllowed("address_not_allowed", "The host has an address that is not public.")


PUBLIC = Rules()


class Sender:
    def __init__(
        self,
        rules: Rules = PUBLIC,
        resolve: Callable[[str], list[str]] = addresses,
        context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self.rules = rules
        self._resolve = resolve
        self._make_context = context

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """Reads every certificate authority that there is, so only when something is sent."""
        return self._make_context()

    def check(self, url: str) -> None:
        """Whether we would send there now. Raises NotAllowed."""
        try:
            self._addresses_of(self.rules.target_of(url))
        except Unreachable:
            raise NotAllowed("host_not_found", "The host's name leads nowhere.") from None

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Raises NotAllowed and Unreachable."""
        ends = time.monotonic() + SECONDS
        target = self.rules.target_of(url)
        request = _request(target, body, headers)
        try:
            with self._connected(target, self._addresses_of(target), ends) as connection:
                connection.settimeout(_left(ends))
                connection.sendall(request)
                return _reply(connection, ends)
        except TimeoutError:
            raise Unreachable("timed_out") from None
        except ssl.SSLError:
            raise Unreachable("tls_failed") from None
        except OSError:
            raise Unreachable("connection_failed") from None

    def _addresses_of(self, target: Target) -> list[str]:
        literal = _literal(target.host)
        try:
            found = [literal] if literal else self._resolve(target.host)
        except (OSError, UnicodeError):  # the latter for a label that no name can have
            raise Unreachable("name_not_resolved") from None
        if not found:
            raise Unreachable("name_not_resolved")
        self.rules.allow(found)
        return found

    def _connected(self, target: Target, found: list[str], ends: float) -> ssl.SSLSocket:
        """To the first of the addresses that takes us. Raises OSError."""
        refused: OSError = OSError()
        for address in found:
            try:
                plain = socket.create_connection(
                    (address, target.port), timeout=min(_CONNECT_SECONDS, _left(ends))
                )
            except OSError as error:
                refused = error
                continue
            try:
                plain.settimeout(_left(ends))
                return self._context.wrap_socket(plain, server_hostname=target.host)
            except OSError:
                plain.close()
                raise
        raise refused


def _bad_url(detail: str) -> NotAllowed:
    return NotAllowed("url_not_allowed", detail)


def _literal(host: str) -> str | None:
    """The host, if it is an IP address itself and no name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _request(target: Target, body: bytes, headers: Mapping[str, str]) -> bytes:
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


def _reply(connection: ssl.SSLSocket, ends: float) -> Reply:
    """Of the first head that is not an interim one (1xx)."""
    received = b""
    while True:
        received = _with_head(connection, received, ends)
        head, blank, rest = received.partition(b"\r\n\r\n")
        if not blank and len(head) < _HEAD_BYTES:
            raise Unreachable("connection_failed")
        status = _STATUS.match(head)
        if status is None:
            raise Unreachable("not_http")
        if not status[1].startswith(b"1"):
            retry_after = _RETRY_AFTER.search(head + b"\r\n")
            return Reply(int(status[1]), retry_after[1].decode() if retry_after else None)
        received = rest


def _with_head(connection: ssl.SSLSocket, received: bytes, ends: float) -> bytes:
    """A longer head is cut off, and one that never ends is what came of it."""
    while b"\r\n\r\n" not in received and len(received) < _HEAD_BYTES:
        connection.settimeout(_left(ends))
        part = connection.recv(_HEAD_BYTES - len(received))
        if not part:
            break
        received += part
    return received
