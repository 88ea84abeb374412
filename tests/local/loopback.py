"""Nothing leaves this machine: while the simulator plays the carrier, only loopback resolves.

A mistake in how the carrier's address is passed on would otherwise dial real telephones, with
the developer's own account if its credentials are in the environment.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from typing import Any
from unittest import mock
from urllib.parse import urlsplit


class NotLoopback(Exception):
    """Something tried to reach a host that is not this machine."""


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address can only be this machine; None (any) is not."""
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_loopback_url(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname)


@contextlib.contextmanager
def only() -> Iterator[None]:
    """Resolving any host but loopback raises NotLoopback, on every thread."""
    resolve = socket.getaddrinfo

    def guarded(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and not is_loopback(name):
            raise NotLoopback(f"{name} is not on this machine, and the local carrier is in use")
        return resolve(host, *arguments, **options)

    with mock.patch.object(socket, "getaddrinfo", guarded):
        yield
