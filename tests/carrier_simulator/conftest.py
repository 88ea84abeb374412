"""A carrier simulator, the unmodified SDK pointed at it, and an application it talks to."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from tests.local.carrier import CarrierSimulator, Clock, Settings

from .facts import check_response

ACCOUNT = "AC" + "0123456789abcdef" * 2
TOKEN = "5a1e" * 8
OURS = "+14155550100"


class Seen:
    """One request the application received."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: bytes, base: str):
        self.method = handler.command
        self.path = urlsplit(handler.path).path
        self.url = base + handler.path
        self.headers = handler.headers
        self.body = body
        self.query = parse_qs(urlsplit(handler.path).query, keep_blank_values=True)
        self.form = {
            name: values[0]
            for name, values in parse_qs(body.decode(), keep_blank_values=True).items()
        }

    def __getitem__(self, name: str) -> str:
        return self.form[name]

    @property
    def genuine(self) -> bool:
        """Whether the SDK's own validator accepts the signature."""
        return RequestValidator(TOKEN).validate(
            self.url, self.form, self.headers.get("X-Twilio-Signature", "")
        )


class Application:
    """What a user of Twilio writes: answers with TwiML, receives callbacks, keeps all of it.

    Paths answer what was set with `answer`, else 204; a list of answers is used up one by one.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._answers: dict[str, Any] = {}
        application = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 64 * 1024  # head and body in one packet

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                seen = Seen(self, body, application.url)
                application.seen.append(seen)
                status, headers, text = application.reply(seen)
                data = text if isinstance(text, bytes) else text.encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = handle_any  # noqa: N815 - http.server's names

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                pass  # a caller that gave up; the simulator's side of it is what is tested

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def reply(self, seen: Seen) -> tuple[int, dict[str, str], str | bytes]:
        answer = self._answers.get(seen.path, (204, {}, ""))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(seen)
        if isinstance(answer, str):
            answer = (200, {"Content-Type": "text/xml"}, answer)
        return answer

    def answer(self, path: str, answer: Any) -> str:
        """Set what a path answers: TwiML, (status, headers, body), a function, or a list."""
        self._answers[path] = answer
        return self.url + path

    def at(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def application() -> Iterator[Application]:
    application = Application()
    yield application
    application.close()


@pytest.fixture
def settings() -> Settings:
    return Settings(calls_per_second=100.0)


@pytest.fixture
def clock() -> Clock:
    return Clock(stepped=True)


@pytest.fixture
def simulator(settings: Settings, clock: Clock) -> Iterator[CarrierSimulator]:
    simulator = CarrierSimulator(ACCOUNT, TOKEN, clock=clock, settings=settings, seed=7)
    simulator.exchange.add_number(OURS)
    simulator.start()
    yield simulator
    simulator.stop()
    assert simulator.exchange.crashes == []


@pytest.fixture
def client(simulator: CarrierSimulator) -> Iterator[Client]:
    http = TwilioHttpClient()
    http.session.hooks["response"].append(check_response)
    client = Client(ACCOUNT, TOKEN, http_client=http)
    client.api.base_url = simulator.url
    yield client
    http.session.close()


def hears(simulator: CarrierSimulator, sid: str) -> list[str]:
    """What a call's party has heard so far."""
    return [line["hears"] for line in simulator.exchange.calls[sid].lines]
