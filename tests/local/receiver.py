"""A client's own server: receives webhooks over HTTPS on 127.0.0.1 and responds as configured.

A certificate authority of its own signs its certificate. `trusting` trusts that authority.
"""

import contextlib
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from typing import Any

import trustme

from tests.local.clock import WORK_HEADER, Clock
from tests.local.threaded_server import ThreadedServer


@dataclass(frozen=True)
class Silence:
    """The server does not respond until `is_over`. Time passes on `clock` meanwhile."""

    clock: Clock
    is_over: threading.Event = field(default_factory=threading.Event)

    def keep(self, work_header: str | None) -> None:
        work = self.clock.take_over(work_header)
        with work.suspension() if work else contextlib.nullcontext():
            self.is_over.wait()


# A response: a status, a status with headers, a function that writes it, or none.
Answer = int | tuple[int, Mapping[str, str]] | Callable[[BufferedIOBase], None] | Silence

_TIMEOUT = 30.0  # real seconds within which a request has to arrive completely


@dataclass(frozen=True)
class Received:
    """One request as received. `headers` have lower-case names."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver(ThreadedServer):
    """Listens at `receiver.url` inside `with Receiver() as receiver:`.

    `answers` maps a path to its response. Any other path gets 204. `names` are its host names
    besides 127.0.0.1 and localhost. `on_request` is called after the response to each request, on
    that request's thread."""

    def __init__(self, *names: str, on_request: Callable[[Received], None] | None = None) -> None:
        self._authority = trustme.CA()
        self._names = ("localhost", "127.0.0.1", *names)
        self._on_request = on_request
        self._lock = threading.Lock()
        self._received: list[Received] = []
        self.answers: dict[str, Answer] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            timeout = _TIMEOUT

            def do_POST(self) -> None:
                receiver._answer(self)

            def do_GET(self) -> None:
                receiver._answer(self)

            def log_message(self, *_: Any) -> None:
                return

        super().__init__(Handler, self._context())

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def received(self) -> list[Received]:
        """Every request so far, oldest first."""
        with self._lock:
            return list(self._received)

    def clear(self) -> None:
        """Forget all requests and configured responses."""
        with self._lock:
            self._received.clear()
        self.answers.clear()

    def at(self, path: str) -> list[Received]:
        return [each for each in self.received if each.path == path]

    def trusting(self) -> ssl.SSLContext:
        """An SSL context for a client that trusts only this receiver."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._authority.configure_trust(context)
        return context

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*self._names).configure_cert(context)
        return context

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length", "0"))
        received = Received(
            handler.path,
            {n.lower(): text for n, text in handler.headers.items() if n != WORK_HEADER},
            handler.rfile.read(length),
        )
        with self._lock:
            self._received.append(received)
        answer = self.answers.get(handler.path, 204)
        if isinstance(answer, Silence):
            answer.keep(handler.headers.get(WORK_HEADER))
        elif callable(answer):
            answer(handler.wfile)
        else:
            status, headers = (answer, {}) if isinstance(answer, int) else answer
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        handler.close_connection = True
        if self._on_request:
            self._on_request(received)
