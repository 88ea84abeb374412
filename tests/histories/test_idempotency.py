"""Repeated and concurrent POSTs with one idempotency key make one callback and get one response.

The clock stands still unless a test moves it, so the test determines a key's age.
"""

import json
import re
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from callback import clock
from callback.storage.idempotency_keys import LIFETIME
from tests.support.play import tidy
from tests.support.world import World, caller, without_rates

CLIENTS = 50
# 10,000 requests. moto handles them one after another, in some 4 ms each.
KEYS = 200

KEY = "key-of-a-client-1"
BODY = {"leg_A": {"to": "1000201"}, "leg_B": {"to": "1000218"}}


@pytest.fixture
def service(the_world: World) -> Iterator[World]:
    the_world.reset()
    yield the_world
    tidy(the_world)


_MARK = "Idempotent-Replayed"


def without_mark(answer: dict[str, Any]) -> dict[str, Any]:
    once = without_rates(answer)
    return {**once, "headers": {k: v for k, v in once["headers"].items() if k != _MARK}}


def code(answer: dict[str, Any]) -> str:
    return str(json.loads(answer["body"])["code"])


def callback_of(answer: dict[str, Any]) -> str:
    return str(json.loads(answer["body"])["callback_id"])


# -- many at once --------------------------------------------------------------------------------


def post_numbered(service: World, number: int) -> dict[str, Any]:
    """POST with the key of this number. Each key has its own pair of parties."""
    body = {
        "leg_A": {"to": f"2{number:05d}"},
        "leg_B": {"to": f"3{number:05d}"},
    }
    answer, error = service.invoke(
        "CallbackApi",
        {
            "version": "2.0",
            "routeKey": "POST /voice/call/callback",
            "headers": {"idempotency-key": f"key-of-a-client-{number}"},
            "requestContext": caller(),
            "pathParameters": None,
            "body": json.dumps(body),
        },
    )
    assert error is None, answer
    return dict(answer)


def test_fifty_clients_that_send_every_key_at_once_get_one_callback_for_each_key(service: World):
    """In each round half of them race for a new key, and half repeat the one before."""
    together = threading.Barrier(CLIENTS)
    answers: dict[int, list[dict[str, Any]]] = defaultdict(list)

    def client(number: int) -> None:
        for turn in range(KEYS):
            together.wait()
            key = (turn - number % 2) % KEYS
            try:
                answers[key].append(post_numbered(service, key))
            except BaseException:
                together.abort()  # the other clients would wait for this one
                raise

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(client, range(CLIENTS)))

    assert sum(map(len, answers.values())) == CLIENTS * KEYS
    refused = 0
    for responses in answers.values():
        taken = [without_mark(answer) for answer in responses if answer["statusCode"] == 202]
        assert len(taken) > 1
        assert all(answer == taken[0] for answer in taken)
        others = [answer for answer in responses if answer["statusCode"] != 202]
        assert {(a["statusCode"], code(a)) for a in others} <= {(409, "request_in_progress")}
        assert all(answer["headers"]["Retry-After"] == "1" for answer in others)
        refused += len(others)
    assert refused, "nobody raced"
    assert len(service.records()) == KEYS
    calls = [call.callback_id for call in service.calls()]
    assert sorted(calls) == sorted(service.records())


# -- one key -------------------------------------------------------------------------------------


def post(service: World, body: Any = None, key: str = KEY) -> dict[str, Any] | None:
    return service.request("POST", body=body or BODY, **{"idempotency-key": key})


def post_and_read(service: World, body: Any = None, key: str = KEY) -> dict[str, Any]:
    answer = post(service, body, key)
    assert answer is not None
    return without_rates(answer)


@pytest.mark.parametrize(
    "other",
    [
        BODY | {"leg_B": {"to": "1000125"}},
        BODY | {"leg_A": {"to": "1000201", "ring_timeout_seconds": 31}},
        BODY | {"order": "reverse"},
        BODY | {"max_duration_seconds": 61},
        BODY | {"metadata": {"ticket": "1"}},
        BODY | {"allow_parallel": True},
    ],
    ids=lambda other: ",".join(name for name in other if other.get(name) != BODY.get(name)),
)
def test_the_same_key_with_a_tampered_body_is_refused(service: World, other: dict[str, Any]):
    first = post_and_read(service)
    refusal = post_and_read(service, other)
    assert (refusal["statusCode"], code(refusal)) == (422, "idempotency_key_reused")
    assert without_mark(post_and_read(service)) == first
    assert len(service.records()) == len(service.calls()) == 1


def test_a_request_with_explicit_defaults_and_a_quoted_key_is_a_repetition(service: World):
    first = post_and_read(service)
    quoted = post_and_read(service, {"order": "sequential", **BODY}, key=f'"{KEY}"')
    assert quoted["headers"]["Idempotent-Replayed"] == "true"
    assert without_mark(quoted) == first


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a" * 15,
        "a" * 256,
        "key of a client 1",
        "key-of-a-client-ü",
        "#" * 16,
        f'"{KEY}',
        f'{KEY}"',
        f'""{KEY}""',
    ],
)
def test_a_malformed_key_is_refused(service: World, key: str):
    refusal = post_and_read(service, key=key)
    assert (refusal["statusCode"], code(refusal)) == (400, "invalid_idempotency_key")
    assert service.records() == {}


@pytest.mark.parametrize("key", ["a" * 16, "A-z_9" * 51], ids=["shortest", "longest"])
def test_a_key_of_any_allowed_length_is_accepted(service: World, key: str):
    assert post_and_read(service, key=key)["statusCode"] == 202


def test_a_request_without_a_key_is_refused_where_one_is_required(
    service: World, monkeypatch: pytest.MonkeyPatch
):
    settings = handler_module().SETTINGS
    monkeypatch.setattr(
        handler_module(), "SETTINGS", replace(settings, require_idempotency_key="true")
    )
    refusal = service.request("POST", body=BODY)
    assert refusal is not None
    assert (refusal["statusCode"], code(refusal)) == (400, "idempotency_key_missing")
    assert service.records() == {}
    assert post_and_read(service)["statusCode"] == 202


def handler_module() -> Any:
    """The module of the API's handler in this world."""
    (module,) = (m for n, m in sys.modules.items() if re.fullmatch(r"local\d+_CallbackApi", n))
    return module


def test_a_validation_error_is_not_kept_with_the_key(service: World):
    assert post_and_read(service, {"leg_A": {"to": "1000201"}})["statusCode"] == 400
    assert post_and_read(service)["statusCode"] == 202


# -- time ----------------------------------------------------------------------------------------


def test_a_key_is_new_again_after_24_hours(service: World, monkeypatch: pytest.MonkeyPatch):
    body = BODY | {"allow_parallel": True}
    first = post_and_read(service, body)
    stored_at = clock.now()
    monkeypatch.setattr(clock, "now", lambda: stored_at + LIFETIME - timedelta(milliseconds=1))
    assert callback_of(post_and_read(service, body)) == callback_of(first)
    monkeypatch.setattr(clock, "now", lambda: stored_at + LIFETIME)
    second = post_and_read(service, body)
    assert second["statusCode"] == 202
    assert callback_of(second) != callback_of(first)
    assert without_mark(post_and_read(service, body)) == second


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        ("before dynamodb.update_item", 2),  # the first one takes a departure
        ("before states.start_execution", 1),
    ],
)
def test_a_key_whose_first_request_died_completes_its_callback_after_half_a_minute(
    service: World, point: str, nth: int
):
    service.faults.arm(point, nth)
    assert post(service) is None
    early = post_and_read(service)
    assert (early["statusCode"], code(early)) == (409, "request_in_progress")
    assert early["headers"]["Retry-After"] == "1"
    service.advance(30)
    late = post_and_read(service)
    assert late["statusCode"] == 202
    assert list(service.records()) == [callback_of(late)]
    assert [call.leg for call in service.calls()].count("A") == 1
    assert callback_of(late) in service.sequencer.executions
    again = post_and_read(service)
    assert again["headers"]["Idempotent-Replayed"] == "true"
    assert without_mark(again) == late
