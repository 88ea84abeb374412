"""A client sets an endpoint over HTTP, and is told of its callbacks over HTTPS."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.local.receiver import Received, Receiver, Silence
from tests.local.stack import LocalStack
from tests.support.client import Client, between, has_ended
from tests.support.relay import verified


class Told:
    """A tenant of its own, with an endpoint at a path of its own."""

    def __init__(self, stack: LocalStack, receiver: Receiver) -> None:
        name = f"tenant-{uuid.uuid4().hex[:12]}"
        self.client = Client(stack, stack.make_tenant(name))
        self.path = f"/{name}"
        self.url = receiver.url + self.path
        self.receiver = receiver
        # What is received is no write of the table, so each moment is looked at.
        self.until = lambda condition: stack.clock.until(condition, within=600)

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(
            method,
            f"{self.client.url}/voice/webhook/{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.client.key}"},
        )

    def endpoint(self, **fields: Any) -> str:
        """The secret of a new endpoint."""
        answer = self.ask("PUT", "endpoint", {"url": self.url, **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["secret"])

    def received(self, callback_id: str, path: str = "") -> list[dict[str, Any]]:
        """What was told of a callback, by its sequence."""
        payloads = [json.loads(each.body) for each in self.receiver.at(path or self.path)]
        of_it = [p for p in payloads if p["data"].get("callback_id") == callback_id]
        return sorted(of_it, key=lambda payload: int(payload["data"]["sequence"]))


@pytest.fixture
def told(running: LocalStack, receiver: Receiver) -> Iterator[Told]:
    each = Told(running, receiver)
    yield each
    each.client.close()


@pytest.fixture
def other(running: LocalStack, receiver: Receiver) -> Iterator[Told]:
    each = Told(running, receiver)
    yield each
    each.client.close()


def test_a_client_is_told_of_a_whole_conversation_and_can_prove_who_told_it(told: Told):
    secret = told.endpoint()
    record = told.client.ended(between("1000201", "1000218"))
    callback_id = record["callback_id"]
    told.until(lambda: any(p["type"] == "callback.ended" for p in told.received(callback_id)))
    told.until(lambda: len({p["data"]["sequence"] for p in told.received(callback_id)}) >= 13)
    payloads = told.received(callback_id)
    by_sequence = {p["data"]["sequence"]: p for p in payloads}
    assert sorted(by_sequence) == list(range(1, len(by_sequence) + 1))
    kinds = [by_sequence[n]["type"] for n in sorted(by_sequence)]
    assert kinds[0] == "callback.accepted"
    assert kinds[-1] == "callback.ended"
    assert {"leg.dialing", "leg.answered", "leg.joined", "leg.ended", "callback.connected"} <= {
        *kinds
    }
    last = by_sequence[len(by_sequence)]["data"]
    assert (last["outcome"], last["ended_at"]) == (record["outcome"], record["ended_at"])
    for each in told.receiver.at(told.path):
        assert verified(each, secret) == json.loads(each.body)
        assert each.headers["content-type"] == "application/json"


def test_events_tell_neither_a_number_nor_metadata(told: Told):
    told.endpoint()
    record = told.client.ended(between("1000201", "1000202", metadata={"case": "canary-7731"}))
    callback_id = record["callback_id"]
    told.until(lambda: any(p["type"] == "callback.ended" for p in told.received(callback_id)))
    sent = b"".join(each.body for each in told.receiver.at(told.path))
    assert b"1000201" not in sent
    assert b"1000202" not in sent
    assert b"canary" not in sent


def test_an_endpoint_that_hangs_does_not_delay_another_tenants(
    running: LocalStack, told: Told, other: Told
):
    told.endpoint(events=["callback.accepted"])
    other.endpoint(events=["callback.accepted"])
    silence = Silence(running.clock)
    told.receiver.answers[told.path] = silence
    try:
        for _ in range(3):
            told.client.accepted(between("1000203", "1000218"))
        told.until(lambda: len(told.receiver.at(told.path)) == 3)
        began = running.clock.seconds()
        callback_id = other.client.accepted(between("1000203", "1000218"))
        told.until(lambda: bool(other.received(callback_id)))
        assert running.clock.seconds() - began < 5
    finally:
        silence.is_over.set()


def test_a_failed_attempt_is_made_again_with_the_same_id(told: Told):
    told.endpoint(events=["callback.accepted"])
    told.receiver.answers[told.path] = 503
    told.client.accepted(between("1000203", "1000218"))
    told.until(lambda: len(told.receiver.at(told.path)) == 1)
    del told.receiver.answers[told.path]
    told.until(lambda: len(told.receiver.at(told.path)) == 2)
    first, second = told.receiver.at(told.path)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def test_a_callback_can_be_told_of_somewhere_else(told: Told):
    secret = told.endpoint()
    own = {"url": f"{told.url}/own", "events": ["callback.accepted", "callback.ended"]}
    callback_id = told.client.accepted(between("1000202", "1000218", webhook=own))
    told.client.record_when(callback_id, has_ended)
    path = f"{told.path}/own"
    told.until(lambda: len(told.received(callback_id, path)) == 2)
    assert [p["type"] for p in told.received(callback_id, path)] == own["events"]
    assert all(verified(each, secret) for each in told.receiver.at(path))
    assert told.received(callback_id) == []


def test_a_url_of_its_own_needs_a_secret_that_signs(told: Told):
    answer = told.client.post(between("1000203", "1000218", webhook={"url": told.url}))
    assert answer.status_code == 400
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [
        ("webhook", "no_endpoint")
    ]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://hooks.example.com/", "url_not_allowed"),
        ("https://hooks.example.com:8443/", "url_not_allowed"),
        ("https://user@hooks.example.com/", "url_not_allowed"),
        ("https://169.254.169.254/", "address_not_allowed"),
        ("https://[fd00:ec2::254]/", "address_not_allowed"),
    ],
)
def test_a_hostile_url_is_refused_by_its_field(told: Told, url: str, code: str):
    told.endpoint()
    calls = told.client.post(between("1000203", "1000218", webhook={"url": url}))
    put = told.ask("PUT", "endpoint", {"url": url})
    for answer, field in ((calls, "webhook.url"), (put, "url")):
        assert answer.status_code == 400
        assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]
    assert told.ask("GET", "endpoint").json()["url"] == told.url


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": 1},
        {"url": "https://hooks.example.com/", "events": []},
        {"url": "https://hooks.example.com/", "events": ["callback.*"]},
        {"url": "https://hooks.example.com/", "secret": "whsec_mine"},
        [],
    ],
)
def test_what_is_no_endpoint_is_refused(told: Told, body: Any):
    assert told.ask("PUT", "endpoint", body).status_code == 400
    assert told.ask("GET", "endpoint").status_code == 404


def test_an_endpoint_is_its_tenants_own(told: Told, other: Told):
    told.endpoint()
    for method, path in (
        ("GET", "endpoint"),
        ("DELETE", "endpoint"),
        ("POST", "endpoint/rotate"),
        ("POST", "endpoint/test"),
    ):
        answer = other.ask(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "webhook_endpoint_not_found")
    assert told.ask("GET", "endpoint").json()["url"] == told.url


def test_another_tenants_dead_letter_is_as_unknown_as_one_that_never_was(told: Told, other: Told):
    told.endpoint(events=["callback.accepted"])
    told.receiver.answers[told.path] = 410
    callback_id = told.client.accepted(between("1000203", "1000218"))
    told.until(lambda: bool(told.ask("GET", "failed").json()["failed"]))
    theirs = other.ask("POST", f"failed/msg_{callback_id}_1/replay")
    unknown = other.ask("POST", "failed/msg_never_1/replay")
    assert theirs.status_code == unknown.status_code == 404
    assert theirs.json() == unknown.json()
    assert other.ask("GET", "failed").json() == {"failed": [], "next_cursor": None}
    assert told.ask("GET", "failed", None).json()["failed"][0]["callback_id"] == callback_id


def test_a_cursor_that_no_page_gave_is_refused(told: Told):
    for cursor in ("", "x", "RkFJTEVE", "🙂"):
        answer = requests.get(
            f"{told.client.url}/voice/webhook/failed",
            params={"cursor": cursor},
            headers={"Authorization": f"Bearer {told.client.key}"},
        )
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["code"] == "invalid_cursor"


def test_a_secret_is_in_no_log(running: LocalStack, told: Told):
    secret = told.endpoint()
    sample = told.ask("POST", "endpoint/test").json()["id"]

    def arrived() -> list[Received]:
        return [r for r in told.receiver.at(told.path) if r.headers["webhook-id"] == sample]

    told.until(lambda: bool(arrived()))
    rotated = told.ask("POST", "endpoint/rotate").json()["secret"]
    logged = "\n".join(line.text for line in running.logs)
    for text in (secret, rotated, told.url):
        assert text.removeprefix("whsec_") not in logged
