"""Scenario 19: endpoints that lead where nobody may go, or that never come to an end."""

import contextlib
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from io import BufferedIOBase
from types import SimpleNamespace
from unittest import mock

import pytest

from callback.webhooks import http_sender
from callback.webhooks.http_sender import NotAllowed, Rules, Sender, Unreachable
from tests.local.receiver import Receiver
from tests.support.relay import Relay

# What a resolver would answer. Every other name here is for the system's own resolver, which
# needs no network for numbers, however they are written.
NAMES = {
    "public.example": ["93.184.216.34"],
    "both.example": ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"],
    "loopback.example": ["127.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "private.example": ["10.1.2.3"],
    "among.example": ["93.184.216.34", "192.168.1.1"],
    "among6.example": ["93.184.216.34", "fd00:ec2::254"],
    "nat64.example": ["64:ff9b::a9fe:a9fe"],
    "6to4.example": ["2002:a9fe:a9fe::1"],
    "scoped.example": ["fe80::1%eth0"],
}

ADDRESSES = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[::169.254.169.254]",
    "[::ffff:127.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[::ffff:0:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[100::1]",
    "[2001::1]",
    "[2001:db8::1]",
    "[2002:a9fe:a9fe::1]",
    "[2002:7f00:1::]",
    "[3fff::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
]

OTHERWISE_WRITTEN = [
    "127.1",
    "127.0.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "017700000001",
    "0xa9fea9fe",
    "2852039166",
    "0xA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376",
    "0",
    "localhost",
]

SHAPES = [
    "http://public.example/",
    "ftp://public.example/",
    "file:///etc/passwd",
    "gopher://public.example/",
    "//public.example/",
    "public.example",
    "",
    "https://",
    "https:///hook",
    "https:public.example",
    "HTTPS://public.example/ ",
    "https://public.example:80/",
    "https://public.example:8443/",
    "https://public.example:0/",
    "https://public.example:65536/",
    "https://public.example:x/",
    "https://user@public.example/",
    "https://user:password@public.example/",
    "https://@public.example/",
    "https://public.example@169.254.169.254/",
    "https://public.example:443@169.254.169.254/",
    "https://public.example\\@169.254.169.254/",
    "https:\\\\169.254.169.254/",
    "https://public.example/\\..",
    "https://public.example#@169.254.169.254/",
    "https://public.example/#fragment",
    "https://public.exam\tple/",
    "https://public.example\n.evil.example/",
    "https://public.example/\r\nX-Injected: yes",
    "https://public.example/a b",
    "\thttps://public.example/",
    "https://public.example/\x00",
    "https://public.example/\u00e9",
    "https://\uff11\uff12\uff17.0.0.1/",
    "https://\u24db\u24de\u24d2\u24d0\u24db/",
    "https://%31%32%37.0.0.1/",
    "https://127。0。0。1/",
    "https://[::1/",
    "https://[::1%25lo]/",
    "https://[fe80::1%25eth0]/",
    "https://-public.example/",
    "https://public..example/",
    "https://.public.example/",
    "https://public.example./",
    f"https://{'a' * 64}.example/",
    "https://public.example/" + "a" * 2048,
]

BY_NAME = [name for name in NAMES if name not in ("public.example", "both.example")]

HOSTILE = [
    *SHAPES,
    *(f"https://{host}/latest/meta-data/" for host in (*ADDRESSES, *OTHERWISE_WRITTEN, *BY_NAME)),
]


def resolve(name: str) -> list[str]:
    return NAMES[name] if name in NAMES else http_sender.resolve_host(name)


@pytest.fixture
def connected() -> Iterator[list[str]]:
    """Whoever a connection was asked for; none is ever made."""
    asked: list[str] = []

    def connect(address: tuple[str, int], **_: object) -> socket.socket:
        asked.append(address[0])
        raise ConnectionRefusedError

    with mock.patch.object(socket, "create_connection", connect):
        yield asked


# -- where nobody may go -------------------------------------------------------------------------


def test_there_are_more_than_forty_of_them():
    assert len(set(HOSTILE)) >= 100


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_url_is_refused_when_it_is_set_and_again_when_it_is_used(
    connected: list[str], url: str
):
    looked_up: list[str] = []

    def noted(name: str) -> list[str]:
        looked_up.append(name)
        return resolve(name)

    sender = Sender(resolve=noted)
    with pytest.raises(NotAllowed):
        sender.check(url)
    with pytest.raises(NotAllowed):
        sender.post(url, b"{}", {})
    assert len(looked_up) <= (0 if url in SHAPES else 2)
    assert connected == []


@pytest.mark.parametrize("host", ADDRESSES)
def test_an_address_that_is_not_public_is_refused_without_asking_anybody(host: str):
    """Where a callback's own URL is taken, nobody is asked what a name means."""
    with pytest.raises(NotAllowed) as refused:
        http_sender.PUBLIC.target_of(f"https://{host}/")
    assert refused.value.code == "address_not_allowed"


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("https://public.example/hook?a=b", NAMES["public.example"]),
        ("https://public.example:443", NAMES["public.example"]),
        ("https://both.example/", NAMES["both.example"]),
        ("https://93.184.216.34/", ["93.184.216.34"]),
        ("https://[2606:4700:4700::1111]/", ["2606:4700:4700::1111"]),
    ],
)
def test_a_public_url_is_taken_and_connected_to_by_the_addresses_that_were_checked(
    connected: list[str], url: str, addresses: list[str]
):
    sender = Sender(resolve=resolve)
    sender.check(url)
    with pytest.raises(Unreachable, match="connection_failed"):
        sender.post(url, b"{}", {})
    assert connected == addresses


def test_a_name_that_leads_nowhere_is_refused_when_it_is_set(connected: list[str]):
    def nowhere(_: str) -> list[str]:
        raise socket.gaierror

    sender = Sender(resolve=nowhere)
    with pytest.raises(NotAllowed) as refused:
        sender.check("https://public.example/")
    assert refused.value.code == "host_not_found"
    with pytest.raises(Unreachable, match="name_not_resolved"):
        sender.post("https://public.example/", b"{}", {})
    assert connected == []


def test_a_name_is_resolved_once_and_what_it_means_a_moment_later_changes_nothing(
    connected: list[str],
):
    """DNS rebinding between the check and the connection: there is no second look-up."""
    answers = itertools.chain([["93.184.216.34"]], itertools.repeat(["127.0.0.1"]))
    sender = Sender(resolve=lambda _: next(answers))
    with pytest.raises(Unreachable):
        sender.post("https://public.example/", b"{}", {})
    assert connected == ["93.184.216.34"]
    with pytest.raises(NotAllowed):
        sender.post("https://public.example/", b"{}", {})
    assert connected == ["93.184.216.34"]


def test_no_proxy_of_the_environment_is_asked(
    connected: list[str], monkeypatch: pytest.MonkeyPatch
):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:3128")
    with pytest.raises(Unreachable):
        Sender(resolve=resolve).post("https://public.example/", b"{}", {})
    assert connected == NAMES["public.example"]


def test_an_endpoint_that_turned_private_since_it_was_set_fails_for_good(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    sender = relay.world.functions.find("local-notify-client").module.sender
    with mock.patch.object(sender, "_resolve", return_value=["169.254.169.254"]):
        relay.accepted()
        relay.let(7 * 86_400 - 3600)
    assert relay.receiver.received == []
    assert [each["reason"] for each in relay.failed()] == ["address_not_allowed"]


# -- who never comes to an end -------------------------------------------------------------------


def _endless_head(answer: BufferedIOBase) -> None:
    answer.write(b"HTTP/1.1 500 Endless\r\n")
    while True:
        answer.write(b"X-Filler: " + b"x" * 1000 + b"\r\n")


def _endless_body(answer: BufferedIOBase) -> None:
    answer.write(b"HTTP/1.1 500 Endless\r\n\r\n")
    while True:
        answer.write(b"x" * 10_000)


def _endless_interim(answer: BufferedIOBase) -> None:
    for _ in range(10_000):  # far more than are read
        answer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _drop_by_drop(answer: BufferedIOBase) -> None:
    for byte in itertools.cycle(b"HTTP/1.1 200 OK\r\nX: y\r\n"):
        answer.write(bytes([byte]))
        answer.flush()


_given_up = threading.Event()


def _silence(_: BufferedIOBase) -> None:
    _given_up.wait()


def _gzip_bomb(answer: BufferedIOBase) -> None:
    answer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
    answer.write(bytes.fromhex("1f8b080000000000000303") + b"\x00" * 100_000)


def _not_http(answer: BufferedIOBase) -> None:
    answer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")


def _half_a_head(answer: BufferedIOBase) -> None:
    answer.write(b"HTTP/1.1 200 OK\r\nX: ")


def _nothing(_: BufferedIOBase) -> None:
    return


@contextlib.contextmanager
def hours_pass() -> Iterator[None]:
    """An hour between any two looks at the clock, of which the sender has fifteen: at the
    sixteenth look it gives up, and no real timeout is short enough to fire."""
    looks = itertools.count()
    hours = SimpleNamespace(monotonic=lambda: next(looks) * 3600.0)
    with mock.patch.multiple(http_sender, time=hours, SECONDS=15 * 3600.0):
        yield
    assert next(looks) == 16


@contextlib.contextmanager
def little_is_left() -> Iterator[None]:
    """0.3 real seconds from when the request is sent, however long that took."""
    read_response = http_sender._read_response

    def soon(connection: ssl.SSLSocket, _: float) -> http_sender.Response:
        return read_response(connection, time.monotonic() + 0.3)

    with mock.patch.object(http_sender, "_read_response", side_effect=soon) as asked:
        yield
    asked.assert_called_once()


@pytest.mark.parametrize(
    ("misbehaviour", "meanwhile", "reason"),
    [
        (_endless_head, contextlib.nullcontext, "http_500"),
        (_endless_body, contextlib.nullcontext, "http_500"),
        (_endless_interim, hours_pass, "timed_out"),
        (_drop_by_drop, hours_pass, "timed_out"),
        (_silence, little_is_left, "timed_out"),
        (_not_http, contextlib.nullcontext, "not_http"),
        (_half_a_head, contextlib.nullcontext, "connection_failed"),
        (_nothing, contextlib.nullcontext, "connection_failed"),
    ],
)
def test_an_endpoint_that_never_ends_is_left_in_time_and_has_not_taken_the_event(
    relay: Relay,
    misbehaviour: Callable[[BufferedIOBase], None],
    meanwhile: Callable[[], AbstractContextManager[None]],
    reason: str,
):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = misbehaviour
    _given_up.clear()
    relay.accepted()
    with meanwhile():
        relay.let(0)
    _given_up.set()
    delivery = relay.deliveries.find("tenant-of-the-histories", "msg_cb-1_1")
    assert delivery is not None
    assert (delivery.status, delivery.reason, delivery.attempts) == ("pending", reason, 1)


def test_a_body_that_would_unpack_to_gigabytes_is_never_read(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = _gzip_bomb
    relay.accepted()
    relay.let(0)
    assert len(relay.receiver.received) == 1
    assert relay.receiver.received[0].headers["accept-encoding"] == "identity"
    assert relay.queue.messages == []


def test_fifteen_seconds_are_all_that_an_endpoint_has():
    assert http_sender.SECONDS == 15


@pytest.mark.parametrize("wrong", ["another name", "another authority"])
def test_an_endpoint_that_cannot_prove_its_name_is_sent_nothing(wrong: str):
    with Receiver() as receiver, Receiver() as stranger:
        trusted = stranger if wrong == "another authority" else receiver
        sender = Sender(
            Rules(permits=lambda _: True, ports=frozenset({receiver.port})),
            resolve=lambda _: ["127.0.0.1"],
            context=trusted.trusting,
        )
        host = "another.example" if wrong == "another name" else "localhost"
        with pytest.raises(Unreachable, match="tls_failed"):
            sender.post(f"https://{host}:{receiver.port}/", b"{}", {})
        assert receiver.received == []


def test_the_host_keeps_its_name_though_it_is_connected_to_by_address():
    with Receiver("hooks.example.com") as receiver:
        sender = Sender(
            Rules(permits=lambda _: True, ports=frozenset({receiver.port})),
            resolve=lambda _: ["127.0.0.1"],
            context=receiver.trusting,
        )
        sender.post(f"https://hooks.example.com:{receiver.port}/a?b=c", b"{}", {})
        (received,) = receiver.received
    assert received.path == "/a?b=c"
    assert received.headers["host"] == f"hooks.example.com:{receiver.port}"


def test_what_is_deployed_allows_the_public_only_and_no_setting_changes_that():
    assert Rules(permits=http_sender.is_public, ports=frozenset({443})) == http_sender.PUBLIC
    assert Sender().rules is http_sender.PUBLIC
