"""Two parties have one live callback at a time, unless their client allows more."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support import world
from tests.support.play import Play, tidy
from tests.support.world import World, caller

A, B = "1000201", "1000218"  # A stays; B hangs up 5 s after joining
OTHERS = "1000123", "1000125"


@pytest.fixture
def play(the_world: World) -> Iterator[Play]:
    yield Play(the_world)
    tidy(the_world)


def request(play: Play, a: str = A, b: str = B, **fields: Any) -> dict[str, Any]:
    answer = play.post(a, b, **fields)
    assert answer is not None
    return answer


def refused_for(answer: dict[str, Any], callback_id: str) -> bool:
    """A 409 that names the conflicting callback."""
    body = json.loads(answer["body"])
    return (
        answer["statusCode"] == 409
        and body["code"] == "callback_in_progress"
        and body["callback_id"] == callback_id
        and answer["headers"]["Location"] == f"/voice/call/callback/{callback_id}"
    )


@pytest.mark.parametrize("pair", [(A, B), (B, A)], ids=["the same way", "the other way round"])
@pytest.mark.parametrize("order", ["sequential", "reverse", "simultaneous"])
def test_a_pair_that_is_being_called_is_not_called_again(play: Play, pair: tuple, order: str):
    first = play.accepted(A, B)
    assert refused_for(request(play, *pair, order=order), first)
    assert list(play.world.records()) == [first]
    assert len(play.calls()) == 1


SPELLINGS = [
    (A, f"sip:{B}@{world.SIP_DOMAIN}"),
    (f"sip:{A}@{world.SIP_DOMAIN.upper()}", B),
    (f"sip:{B}@Pbx.Example", f"sip:{A}@pBX.eXAMPLE"),
]


@pytest.mark.parametrize("pair", SPELLINGS)
def test_a_pair_is_the_same_in_every_notation_of_its_telephones(play: Play, pair: tuple):
    first = play.accepted(A, B)
    assert refused_for(request(play, *pair), first)
    play.until(lambda: play.has_ended(first), within=30)
    second = play.accepted(*pair)
    assert refused_for(request(play), second)


@pytest.mark.parametrize("b", [f"sip:{A}@{world.SIP_DOMAIN}", f"sip:{A}@PBX.example"])
def test_one_telephone_in_two_notations_is_one_party(play: Play, b: str):
    for pair in ((A, b), (b, A)):
        refusal = request(play, *pair, allow_parallel=True)
        (error,) = json.loads(refusal["body"])["errors"]
        assert (refusal["statusCode"], error["code"]) == (400, "same_party")
    assert play.world.records() == {}


@pytest.mark.parametrize("other", [f"{A}@pbx.example.com", f"{A}@pbx.example:5070", f"x{A}@pbx"])
def test_another_telephone_makes_another_pair(play: Play, other: str):
    play.world.set_policy(allowed_sip_hosts="pbx.example.com,pbx")
    play.let(10)  # until the new policy takes effect
    play.accepted(A, B)
    play.accepted(f"sip:{other}", B)


def test_a_pair_stays_taken_until_its_callback_has_ended(play: Play):
    first = play.accepted(A, B)
    refusals = 0
    while not play.has_ended(first):
        assert refused_for(request(play), first)
        refusals += 1
        play.let(0.5)
    assert refusals > 5
    second = play.accepted(A, B)
    assert second != first
    assert refused_for(request(play), second)


@pytest.mark.parametrize("how", ["canceled", "rejected", "busy"])
def test_a_pair_is_free_at_once_after_any_end_of_its_callback(play: Play, how: str):
    a = {"rejected": "1000207", "busy": "1000202"}.get(how, A)
    first = request(play, a)
    assert first["statusCode"] == (422 if how == "rejected" else 202)
    callback_id = play.the_only_id()
    if how == "canceled":
        play.world.request("DELETE", callback_id)
    play.until(lambda: play.has_ended(callback_id), within=10)
    again = request(play, a)
    assert again["statusCode"] == first["statusCode"]
    assert json.loads(again["body"])["callback_id"] != callback_id


def test_a_pair_is_free_once_its_callback_is_forgotten(play: Play):
    """The row of the callback is past its retention and never ended."""
    first = play.accepted(A, B)
    (row,) = play.world.records().values()
    expired = {**row, "expires_at": {"S": "2026-01-01T00:00:00.000Z"}}
    play.world._dynamodb.put_item(TableName=world.TABLE, Item=expired)
    second = request(play)
    assert second["statusCode"] == 202
    assert json.loads(second["body"])["callback_id"] != first


def test_other_pairs_of_the_same_parties_are_free(play: Play):
    play.accepted(A, B)
    play.accepted(A, OTHERS[1])
    play.accepted(OTHERS[0], B)
    assert len(play.world.records()) == 3


def test_a_client_may_allow_two_callbacks_of_a_pair_at_once(play: Play):
    first = play.accepted(A, B)
    second = play.accepted(A, B, allow_parallel=True)
    assert sorted(play.world.records()) == sorted([first, second])
    assert refused_for(request(play), first), "the parallel callback does not occupy the pair"


def test_a_parallel_callback_does_not_occupy_its_pair(play: Play):
    play.accepted(A, B, allow_parallel=True)
    play.accepted(A, B)


@pytest.mark.parametrize("ends_with", ["the same way", "the other way round"])
def test_of_two_concurrent_posts_for_a_pair_one_is_accepted(
    play: Play, monkeypatch: pytest.MonkeyPatch, ends_with: str
):
    """Both read that the pair is free before either writes."""
    both = threading.Barrier(2)
    around, waited = play.world.faults.around, threading.local()

    def together(name: str, call: Any) -> Any:
        def racing(*args: Any, **kwargs: Any) -> Any:
            if name == "dynamodb.transact_write_items" and not hasattr(waited, "done"):
                waited.done = True
                both.wait()
            return call(*args, **kwargs)

        return around(name, racing if name.startswith("dynamodb") else call)

    monkeypatch.setattr(play.world.faults, "around", together)
    pairs = [(A, B), (A, B) if ends_with == "the same way" else (B, A)]

    def invoked(pair: tuple[str, str]) -> dict[str, Any]:
        answer, error = play.world.invoke(
            "CallbackApi",
            {
                "routeKey": "POST /voice/call/callback",
                "headers": {},
                "requestContext": caller(),
                "pathParameters": None,
                "body": json.dumps({"leg_A": {"to": pair[0]}, "leg_B": {"to": pair[1]}}),
            },
        )
        if not hasattr(waited, "done"):
            both.abort()  # the other one would wait forever
        assert error is None, answer
        return dict(answer)

    with ThreadPoolExecutor(2) as clients:
        answers = sorted(clients.map(invoked, pairs), key=lambda answer: answer["statusCode"])
    assert [answer["statusCode"] for answer in answers] == [202, 409]
    assert refused_for(answers[1], json.loads(answers[0]["body"])["callback_id"])
    assert len(play.world.records()) == len(play.calls()) == 1
