"""What became of a create request: only what is certainly harmless may be sent again.

And how it is sent: over which connection, and with which of our tokens.
"""

import base64
import contextlib
import json
import socket
import struct
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
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


def test_a_refusal_keeps_the_carriers_own_code():
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
def test_a_carrier_that_turns_a_request_away_may_say_when_to_ask_again(header, seconds):
    told = classify(refused(429, 20429), header).retry_after
    assert told == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "error", [refused(400, 21211), refused(401, 20003), refused(503, 20503), not_connected()]
)
def test_when_to_ask_again_means_nothing_with_another_answer(error):
    assert classify(error, "7") == classify(error)


# -- over which connection, and with which token ------------------------------------------------


class Carrier(ThreadingHTTPServer):
    """Takes these tokens, remembers each request, and may forget connections once used."""

    daemon_threads = False  # closing it waits for them

    def __init__(self, *tokens: str) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.takes, self.refuses_with, self.forgets = set(tokens), 401, False
        self.connections = 0
        self.asked: list[tuple[str, str]] = []  # (method, token)
        self.meanwhile = lambda: None  # done before each answer


class Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Carrier

    def setup(self):
        super().setup()
        self.server.connections += 1
        self.used = False

    def do_GET(self):
        calls = [CALL] if "Calls.json" in self.path else None
        self.take(200, {"calls": calls, "next_page_uri": None} if calls else CALL)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.take(201 if self.path.endswith("Calls.json") else 200, CALL)

    def do_DELETE(self):
        self.take(204, None)

    def take(self, status, document):
        if self.used and self.server.forgets:  # as a gateway does that has dropped it long ago
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()
            return
        self.used = True
        login = base64.b64decode(self.headers["Authorization"].removeprefix("Basic "))
        account_sid, _, token = login.decode().partition(":")
        assert account_sid == ACCOUNT_SID
        self.server.asked.append((self.command, token))
        self.server.meanwhile()
        if token not in self.server.takes:
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
    """The clock on the wall, to be moved."""
    moments = [NOON]
    monkeypatch.setattr(clock, "now", lambda: moments[-1])
    return moments


def client_of(carrier: Carrier, secret: Secret) -> TwilioCarrier:
    url = f"http://127.0.0.1:{carrier.server_port}"
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


def test_a_create_request_has_a_connection_of_its_own_however_soon_it_follows(carrier, now):
    carrier.forgets = True
    client = client_of(carrier, Secret(auth_token="token"))
    assert dial(client).sent is Sent.ACCEPTED
    now.append(at(1))
    assert dial(client).sent is Sent.ACCEPTED
    assert carrier.connections == 2


@every_operation
@pytest.mark.parametrize("seconds", [11, 3600, -11], ids=["11 s", "an hour", "clock put back"])
def test_a_sandbox_that_thaws_does_not_use_the_connection_that_it_had(
    carrier, now, operation, seconds
):
    client = client_of(carrier, Secret(auth_token="token"))
    client.fetch(SIDS[LegName.A])
    assert carrier.connections == 1
    now.append(at(seconds))
    operation(client)
    assert carrier.connections == 2


def test_what_is_asked_one_after_the_other_shares_a_connection(carrier, now):
    client = client_of(carrier, Secret(auth_token="token"))
    for seconds in (0, 10, 20, 30):
        now.append(at(seconds))
        client.live_calls()  # three requests
    assert (len(carrier.asked), carrier.connections) == (12, 1)


def test_live_calls_are_listed_by_status_and_the_latest_list_counts(carrier):
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
def test_legs_look_alike_whose_calls_have_the_same_parties(carrier, one, other, alike):
    client = client_of(carrier, Secret(auth_token="token"))
    one, other = (Leg(to, caller_id, ring_timeout_seconds=30) for to, caller_id in (one, other))
    assert client.look_alike(one, other) is alike


@every_operation
def test_a_token_that_was_rotated_since_it_was_cached_is_fetched_and_used(carrier, operation):
    secret = Secret(auth_token="old")
    client = client_of(carrier, secret)
    assert client.ready()
    carrier.takes = {"new"}
    secret.value = {"auth_token": "new", "previous_auth_token": "old"}
    done = operation(client)
    assert [token for _, token in carrier.asked[:2]] == ["old", "new"]
    assert operation is not dial or done.sent is Sent.ACCEPTED


@every_operation
def test_until_the_carrier_is_switched_the_previous_token_is_used(carrier, operation):
    secret = Secret(auth_token="new", previous_auth_token="old")
    carrier.takes = {"old"}
    done = operation(client_of(carrier, secret))
    assert [token for _, token in carrier.asked[:2]] == ["new", "old"]
    assert operation is not dial or done.sent is Sent.ACCEPTED


def test_after_a_rotation_the_new_token_is_used_at_once(carrier):
    secret = Secret(auth_token="old")
    client = client_of(carrier, secret)
    assert client.ready()
    carrier.takes = {"new"}
    secret.value = {"auth_token": "new", "previous_auth_token": "old"}
    for _ in range(2):
        assert client.ready()
        assert dial(client).sent is Sent.ACCEPTED
    assert [token for _, token in carrier.asked] == ["old", "new", "new"]


def test_where_the_carrier_takes_none_of_our_tokens_a_call_was_not_sent(carrier, caplog):
    secret = Secret(auth_token="new", previous_auth_token="old")
    carrier.takes = {"another"}
    told = dial(client_of(carrier, secret))
    assert (told.sent, told.carrier_code) == (Sent.NOT_SENT, 20003)
    assert [token for _, token in carrier.asked] == ["new", "old"]
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert errors == ["the carrier takes none of our tokens"]


def test_where_the_carrier_takes_none_of_our_tokens_it_cannot_be_asked(carrier):
    carrier.takes = {"another"}
    client = client_of(carrier, Secret(auth_token="token"))
    with pytest.raises(CarrierUnavailable):
        client.live_calls()


@pytest.mark.parametrize(("status", "sent"), [(403, Sent.REJECTED), (500, Sent.UNKNOWN)])
def test_any_other_refusal_is_final_whatever_tokens_there_are(carrier, status, sent):
    carrier.refuses_with, carrier.takes = status, {"old"}
    told = dial(client_of(carrier, Secret(auth_token="new", previous_auth_token="old")))
    assert told.sent is sent
    assert [token for _, token in carrier.asked] == ["new"]


def test_a_parameter_store_that_fails_does_not_keep_the_previous_token_from_being_used(carrier):
    secret = Secret(auth_token="new", previous_auth_token="old")
    client = client_of(carrier, secret)
    assert client.ready()
    carrier.takes, secret.fails = {"old"}, True
    assert dial(client).sent is Sent.ACCEPTED


@pytest.mark.parametrize(("seconds", "tokens"), [(15, ["new", "old"]), (15.1, ["new"])])
def test_nothing_is_sent_again_once_the_claim_may_have_been_given_up(carrier, now, seconds, tokens):
    """The first answer, or the parameter store, took its time."""
    carrier.meanwhile = lambda: now.append(at(seconds))
    carrier.takes = {"old"}
    told = dial(client_of(carrier, Secret(auth_token="new", previous_auth_token="old")))
    assert told.sent is (Sent.ACCEPTED if len(tokens) == 2 else Sent.NOT_SENT)
    assert [token for _, token in carrier.asked] == tokens


def test_who_is_ready_fetches_nothing_between_the_claim_and_the_request(carrier):
    secret = Secret(auth_token="token")
    client = client_of(carrier, secret)
    assert client.ready()
    secret.fails, secret.cached = True, None
    assert dial(client).sent is Sent.ACCEPTED


def test_without_credentials_nobody_is_ready_and_nothing_is_sent(carrier):
    secret = Secret(auth_token="token")
    secret.fails, secret.cached = True, None
    client = client_of(carrier, secret)
    assert not client.ready()
    assert dial(client).sent is Sent.NOT_SENT
    assert carrier.asked == []


def test_who_was_not_ready_sends_nothing_if_fetching_outlasts_the_claim(carrier, now):
    secret = Secret(auth_token="token")
    secret.cached, secret.meanwhile = None, lambda: now.append(at(15.1))
    assert dial(client_of(carrier, secret)).sent is Sent.NOT_SENT
    assert carrier.asked == []
