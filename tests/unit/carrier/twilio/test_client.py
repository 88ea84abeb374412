"""The result of a create request: only one that certainly created no call may be sent again.

Also the connection and the token that each request uses.
"""

import base64
import contextlib
import json
import socket
import ssl
import struct
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import trustme
import urllib3
from twilio.base.exceptions import TwilioException, TwilioRestException

from callback import clock
from callback.carrier.credentials import CredentialStore
from callback.carrier.port import Sent
from callback.carrier.twilio.client import TwilioCarrier, classify
from callback.errors import CarrierUnavailable
from callback.lifecycle import transitions
from callback.lifecycle.models import Leg, LegName, LegStatus
from tests.support.build import NOON, SIDS, allowed, at, callback
from tests.support.secret import ACCOUNT_SID, Secret


def refused(status, code=None):
    return TwilioRestException(status, "/Calls.json", msg="no", code=code)


def not_connected():
    reason = urllib3.exceptions.NewConnectionError(None, "connection refused")
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/", reason))


def reset():
    return requests.ConnectionError(urllib3.exceptions.ProtocolError("reset by peer"))


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (refused(429, 20429), Sent.NOT_SENT),
        (refused(401), Sent.NOT_SENT),
        (not_connected(), Sent.NOT_SENT),
        (requests.ConnectTimeout(), Sent.NOT_SENT),
        (refused(400, 21211), Sent.REJECTED),
        (refused(401, 20003), Sent.NOT_SENT),
        (refused(403, 20005), Sent.REJECTED),
        (refused(404, 20404), Sent.REJECTED),
        (refused(500, 20500), Sent.UNKNOWN),
        (refused(502), Sent.UNKNOWN),
        (refused(503, 20503), Sent.UNKNOWN),
        (refused(302), Sent.UNKNOWN),
        (requests.ReadTimeout(), Sent.UNKNOWN),
        (requests.ConnectionError(), Sent.UNKNOWN),
        (reset(), Sent.UNKNOWN),
        (requests.exceptions.ChunkedEncodingError(), Sent.UNKNOWN),
        (json.JSONDecodeError("not JSON", "<html>", 0), Sent.UNKNOWN),
        (TwilioException("odd"), Sent.UNKNOWN),
    ],
    ids=lambda value: str(value) if isinstance(value, Sent) else repr(value)[:60],
)
def test_a_failed_create_request_is_classified(error, sent):
    assert classify(error).sent is sent


def test_a_rejection_keeps_the_carriers_own_code():
    assert classify(refused(400, 21215)).carrier_code == 21215


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("999999", 999_999),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("9" * 400, None),
        ("Tue, 24 Nov 2026 12:00:07 GMT", None),
    ],
)
def test_a_429_response_may_require_a_pause(header, seconds):
    pause = classify(refused(429, 20429), header).retry_after
    assert pause == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "error", [refused(400, 21211), refused(401, 20003), refused(503, 20503), not_connected()]
)
def test_retry_after_is_ignored_with_any_other_response(error):
    assert classify(error, "7") == classify(error)


# -- connections and tokens ----------------------------------------------------------------------


class Carrier(ThreadingHTTPServer):
    """Accepts these tokens, remembers each request, and may reset connections once used."""

    daemon_threads = False  # closing it waits for them

    def __init__(self, *tokens: str) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.accepted_tokens, self.refuses_with, self.forgets = set(tokens), 401, False
        self.connections = 0
        self.requests: list[tuple[str, str]] = []  # (method, token)
        self.meanwhile = lambda: None  # runs before each response


class Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Carrier

    def setup(self):
        super().setup()
        self.server.connections += 1
        self.used = False

    def do_GET(self):
        calls = [CALL] if "Calls.json" in self.path else None
        self.respond(200, {"calls": calls, "next_page_uri": None} if calls else CALL)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.respond(201 if self.path.endswith("Calls.json") else 200, CALL)

    def do_DELETE(self):
        self.respond(204, None)

    def respond(self, status, document):
        if self.used and self.server.forgets:  # like a gateway that dropped it
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()
            return
        self.used = True
        login = base64.b64decode(self.headers["Authorization"].removeprefix("Basic "))
        account_sid, _, token = login.decode().partition(":")
        assert account_sid == ACCOUNT_SID
        self.server.requests.append((self.command, token))
        self.server.meanwhile()
        if token not in self.server.accepted_tokens:
            status = self.server.refuses_with
            document = {"code": 20003, "message": "Authenticate", "status": status}
        body = json.dumps(document).encode() if document else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


CALL = {
    "sid": SIDS[LegName.A],
    "status": "queued",
    "date_created": "Tue, 24 Nov 2026 12:00:00 +0000",
}


@pytest.fixture
def carrier():
    with Carrier("token") as listening, contextlib.ExitStack() as stack:
        threading.Thread(target=listening.serve_forever, args=(0.01,)).start()
        stack.callback(listening.shutdown)
        listening.opened = stack
        yield listening


@pytest.fixture
def now(monkeypatch):
    """The wall clock. Set it with `now.append(...)`."""
    moments = [NOON]
    monkeypatch.setattr(clock, "now", lambda: moments[-1])
    return moments


def client_of(carrier: Carrier, secret: Secret, scheme: str = "http") -> TwilioCarrier:
    url = f"{scheme}://127.0.0.1:{carrier.server_port}"
    client = TwilioCarrier(
        CredentialStore("name", secret), api_url=url, public_url="https://x", sip_domain="pbx"
    )
    carrier.opened.callback(client._http.session.close)
    return client


def dial(client: TwilioCarrier):
    claimed = allowed(transitions.claim(callback(), LegName.A, clock.now()))
    return client.dial(claimed, LegName.A)


OPERATIONS = {
    "dial": dial,
    "end": lambda client: client.end(SIDS[LegName.A]),
    "end with a sentence": lambda client: client.end(SIDS[LegName.A], "Goodbye."),
    "fetch": lambda client: client.fetch(SIDS[LegName.A]),
    "delete_record": lambda client: client.delete_record(SIDS[LegName.A]),
    "live_calls": lambda client: client.live_calls(),
    "find_calls": lambda client: client.find_calls(callback().leg_a, NOON),
}
every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def test_each_create_request_uses_a_new_connection(carrier, now):
    carrier.forgets = True
    client = client_of(carrier, Secret(auth_token="token"))
    assert dial(client).sent is Sent.ACCEPTED
    now.append(at(1))
    assert dial(client).sent is Sent.ACCEPTED
    assert carrier.connections == 2


@pytest.fixture
def authority(monkeypatch, tmp_path):
    """The certificate authority that our requests trust."""
    authority = trustme.CA()
    bundle = tmp_path / "authorities.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    return authority


def speak_tls(carrier, authority, name):
    """The carrier shows a certificate of that name. Its handshakes run in its conversations'
    threads, where one that fails is no error of the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    carrier.socket = context.wrap_socket(
        carrier.socket, server_side=True, do_handshake_on_connect=False
    )
    carrier.handle_error = lambda *_: None


def test_the_authorities_are_read_once_for_all_connections(carrier, authority, monkeypatch):
    read = []
    load = ssl.SSLContext.load_verify_locations
    monkeypatch.setattr(
        ssl.SSLContext,
        "load_verify_locations",
        lambda *args, **named: (read.append(named), load(*args, **named)),
    )
    speak_tls(carrier, authority, "127.0.0.1")
    for _ in range(2):  # two sandboxes' worth of clients in one process
        client = client_of(carrier, Secret(auth_token="token"), "https")
        assert dial(client).sent is Sent.ACCEPTED
        assert dial(client).sent is Sent.ACCEPTED
    assert carrier.connections == 4
    assert len(read) == 1


def test_a_carrier_that_shows_another_hosts_certificate_gets_no_request(carrier, authority):
    speak_tls(carrier, authority, "carrier.example.com")
    client = client_of(carrier, Secret(auth_token="token"), "https")
    assert dial(client).sent is not Sent.ACCEPTED
    with pytest.raises(CarrierUnavailable):
        client.live_calls()
    assert carrier.requests == []


@pytest.mark.usefixtures("authority")
def test_a_carrier_with_a_certificate_of_an_unknown_authority_gets_no_request(carrier):
    speak_tls(carrier, trustme.CA(), "127.0.0.1")
    client = client_of(carrier, Secret(auth_token="token"), "https")
    assert dial(client).sent is not Sent.ACCEPTED
    assert carrier.requests == []


@every_operation
@pytest.mark.parametrize("seconds", [11, 3600, -11], ids=["11 s", "an hour", "clock put back"])
def test_a_sandbox_that_thaws_does_not_use_its_old_connection(carrier, now, operation, seconds):
    client = client_of(carrier, Secret(auth_token="token"))
    client.fetch(SIDS[LegName.A])
    assert carrier.connections == 1
    now.append(at(seconds))
    operation(client)
    assert carrier.connections == 2


def test_requests_in_quick_succession_share_a_connection(carrier, now):
    client = client_of(carrier, Secret(auth_token="token"))
    for seconds in (0, 10, 20, 30):
        now.append(at(seconds))
        client.live_calls()  # three requests
    assert (len(carrier.requests), carrier.connections) == (12, 1)


def test_live_calls_are_listed_by_status_and_the_last_list_wins(carrier):
    client = client_of(carrier, Secret(auth_token="token"))
    assert client.live_calls() == {SIDS[LegName.A]: LegStatus.ANSWERED}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (("1000123", "+1"), ("sip:1000123@PBX", "sip:+1@elsewhere"), True),
        (("1000123", "+1"), ("1000124", "+1"), False),
        (("1000123", "+1"), ("1000123", "+2"), False),
    ],
)
def test_legs_look_alike_if_their_calls_have_the_same_parties(carrier, one, other, alike):
    client = client_of(carrier, Secret(auth_token="token"))
    one, other = (Leg(to, caller_id, ring_timeout_seconds=30) for to, caller_id in (one, other))
    assert client.look_alike(one, other) is alike


@every_operation
def test_a_token_that_was_rotated_after_it_was_cached_is_fetched_and_used(carrier, operation):
    secret = Secret(auth_token="old")
    client = client_of(carrier, secret)
    assert client.ready()
    carrier.accepted_tokens = {"new"}
    secret.value = {"auth_token": "new", "previous_auth_token": "old"}
    result = operation(client)
    assert [token for _, token in carrier.requests[:2]] == ["old", "new"]
    assert operation is not dial or result.sent is Sent.ACCEPTED


@every_operation
def test_the_previous_token_is_used_until_the_carrier_is_switched(carrier, operation):
    secret = Secret(auth_token="new", previous_auth_token="old")
    carrier.accepted_tokens = {"old"}
    result = operation(client_of(carrier, secret))
    assert [token for _, token in carrier.requests[:2]] == ["new", "old"]
    assert operation is not dial or result.sent is Sent.ACCEPTED


def test_the_new_token_is_used_at_once_after_a_rotation(carrier):
    secret = Secret(auth_token="old")
    client = client_of(carrier, secret)
    assert client.ready()
    carrier.accepted_tokens = {"new"}
    secret.value = {"auth_token": "new", "previous_auth_token": "old"}
    for _ in range(2):
        assert client.ready()
        assert dial(client).sent is Sent.ACCEPTED
    assert [token for _, token in carrier.requests] == ["old", "new", "new"]


def test_a_call_is_not_sent_if_the_carrier_accepts_none_of_our_tokens(carrier, caplog):
    secret = Secret(auth_token="new", previous_auth_token="old")
    carrier.accepted_tokens = {"another"}
    result = dial(client_of(carrier, secret))
    assert (result.sent, result.carrier_code) == (Sent.NOT_SENT, 20003)
    assert [token for _, token in carrier.requests] == ["new", "old"]
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert errors == ["the carrier accepts none of our tokens"]


def test_the_carrier_is_unavailable_if_it_accepts_none_of_our_tokens(carrier):
    carrier.accepted_tokens = {"another"}
    client = client_of(carrier, Secret(auth_token="token"))
    with pytest.raises(CarrierUnavailable):
        client.live_calls()


@pytest.mark.parametrize(("status", "sent"), [(403, Sent.REJECTED), (500, Sent.UNKNOWN)])
def test_no_other_token_is_tried_after_another_refusal(carrier, status, sent):
    carrier.refuses_with, carrier.accepted_tokens = status, {"old"}
    result = dial(client_of(carrier, Secret(auth_token="new", previous_auth_token="old")))
    assert result.sent is sent
    assert [token for _, token in carrier.requests] == ["new"]


def test_the_previous_token_is_used_although_the_parameter_store_fails(carrier):
    secret = Secret(auth_token="new", previous_auth_token="old")
    client = client_of(carrier, secret)
    assert client.ready()
    carrier.accepted_tokens, secret.fails = {"old"}, True
    assert dial(client).sent is Sent.ACCEPTED


@pytest.mark.parametrize(("seconds", "tokens"), [(15, ["new", "old"]), (15.1, ["new"])])
def test_nothing_is_sent_again_once_the_claim_has_expired(carrier, now, seconds, tokens):
    """The first response, or the parameter store, took long."""
    carrier.meanwhile = lambda: now.append(at(seconds))
    carrier.accepted_tokens = {"old"}
    result = dial(client_of(carrier, Secret(auth_token="new", previous_auth_token="old")))
    assert result.sent is (Sent.ACCEPTED if len(tokens) == 2 else Sent.NOT_SENT)
    assert [token for _, token in carrier.requests] == tokens


def test_a_ready_carrier_fetches_nothing_between_the_claim_and_the_request(carrier):
    secret = Secret(auth_token="token")
    client = client_of(carrier, secret)
    assert client.ready()
    secret.fails, secret.cached = True, None
    assert dial(client).sent is Sent.ACCEPTED


def test_without_credentials_the_carrier_is_not_ready_and_sends_nothing(carrier):
    secret = Secret(auth_token="token")
    secret.fails, secret.cached = True, None
    client = client_of(carrier, secret)
    assert not client.ready()
    assert dial(client).sent is Sent.NOT_SENT
    assert carrier.requests == []


def test_a_carrier_that_was_not_ready_sends_nothing_if_fetching_outlasts_the_claim(carrier, now):
    secret = Secret(auth_token="token")
    secret.cached, secret.meanwhile = None, lambda: now.append(at(15.1))
    assert dial(client_of(carrier, secret)).sent is Sent.NOT_SENT
    assert carrier.requests == []
