"""What is kept of a request with a key, and what its repetition is answered, whoever asked."""

import json
from typing import Any

import pytest

from callback.triggers import sms_grammar
from tests.support.play import Play
from tests.support.world import TABLE, World, caller

KEY = "a-key-of-a-client"
REFUSED, ANSWERS = "1000207", "1000201"
PACKET = "POST /voice/trigger/packet"


def packet(world: World, a: str) -> dict[str, Any]:
    event = {
        "routeKey": PACKET,
        "headers": {},
        "requestContext": caller(),
        "body": json.dumps({"a": a, "b": "1000218", "id": KEY}),
    }
    answer, error = world.invoke("Trigger", event)
    assert error is None
    return dict(answer)


def kept(world: World) -> dict[str, Any]:
    """What the row of the only key has."""
    rows = world._dynamodb.scan(TableName=TABLE)["Items"]
    (row,) = [row for row in rows if row["sk"]["S"] == "KEY"]
    assert set(row) == {"pk", "sk", "fingerprint", "callback_id", "stored_at", "answer", "ttl"}
    answer: dict[str, Any] = json.loads(row["answer"]["S"])
    return answer


def posted(play: Play, a: str, key: str | None = KEY) -> dict[str, Any]:
    answer = play.post(a, key=key)
    assert answer is not None
    return answer


LOCATED = {"Content-Type", "Location"}
RATES = {"RateLimit", "RateLimit-Policy"}
MARK = {"Idempotent-Replayed"}


@pytest.mark.parametrize(("a", "status"), [(ANSWERS, 202), (REFUSED, 422)])
def test_the_answer_is_kept_as_it_was_given_but_for_the_rates(play: Play, a: str, status: int):
    first = posted(play, a)
    row = kept(play.world)
    assert set(first["headers"]) == LOCATED | RATES
    assert row == {
        "statusCode": status,
        "headers": {name: first["headers"][name] for name in ("Content-Type", "Location")},
        "body": first["body"],
    }
    assert list(row) == ["statusCode", "headers", "body"]
    play.let(90)
    again = posted(play, a)
    assert set(again["headers"]) == LOCATED | MARK
    assert (again["statusCode"], again["body"]) == (status, first["body"])
    assert kept(play.world) == row


@pytest.mark.parametrize(("a", "told"), [(ANSWERS, LOCATED | RATES), (REFUSED, LOCATED)])
def test_without_a_key_nothing_is_kept(play: Play, a: str, told: set[str]):
    assert set(posted(play, a, key=None)["headers"]) == told
    rows = play.world._dynamodb.scan(TableName=TABLE)["Items"]
    assert [row for row in rows if row["sk"]["S"] == "KEY"] == []


def test_a_packet_is_answered_with_the_id_alone_and_the_record_is_kept(play: Play):
    first = packet(play.world, ANSWERS)
    callback_id = play.the_only_id()
    assert first["body"] == json.dumps({"callback_id": callback_id})
    assert set(first["headers"]) == LOCATED | RATES
    row = kept(play.world)
    assert (row["statusCode"], json.loads(row["body"])["status"]) == (202, "calling_first")
    again = packet(play.world, ANSWERS)
    assert (again["statusCode"], again["body"]) == (202, first["body"])
    assert set(again["headers"]) == LOCATED | MARK


def test_a_packet_whose_call_was_refused_is_answered_with_the_same_problem(play: Play):
    first = packet(play.world, REFUSED)
    row = kept(play.world)
    assert first["headers"]["Content-Type"] == "application/problem+json"
    assert set(first["headers"]) == LOCATED | RATES
    assert (first["statusCode"], first["body"]) == (row["statusCode"], row["body"])
    assert json.loads(first["body"])["code"] == "carrier_rejected"
    again = packet(play.world, REFUSED)
    assert (again["statusCode"], again["body"]) == (422, first["body"])
    assert set(again["headers"]) == LOCATED | MARK


def test_a_post_and_a_packet_with_one_key_are_one_request(play: Play):
    """The key is the tenant's, whichever way the request comes; each is answered in its way."""
    posted(play, ANSWERS)
    row = kept(play.world)
    again = packet(play.world, ANSWERS)
    assert json.loads(again["body"]) == {"callback_id": play.the_only_id()}
    assert set(again["headers"]) == LOCATED | MARK
    assert posted(play, ANSWERS)["body"] == row["body"]


@pytest.mark.parametrize(
    ("to", "reply"),
    [(ANSWERS, sms_grammar.CALLING), (REFUSED, sms_grammar.refusal("carrier_rejected"))],
)
def test_a_text_that_the_carrier_delivers_twice_is_replied_to_alike(play: Play, to, reply):
    ours, sender = play.world.make_number("+14155550100", sms_to="1000218"), "+14155550118"
    if to == REFUSED:
        sender = "+14155550106"
    sid = "SM" + "5" * 32
    form = {"From": sender, "To": ours, "MessageSid": sid, "Body": "CALL ME"}
    for _ in range(2):
        answer = play.webhook("/carrier/trigger/sms", **form)
        assert reply in answer.text.replace("&#x27;", "'")
    assert kept(play.world)["statusCode"] == (422 if to == REFUSED else 202)
    assert len(play.world.records()) == 1


@pytest.mark.parametrize(
    ("a", "point", "status"),
    [
        (ANSWERS, "after carrier.request", 202),
        (REFUSED, "after dynamodb.put_item", 422),
    ],
)
def test_the_answer_to_a_first_request_that_died_is_kept_by_the_one_that_completes_it(
    play: Play, a: str, point: str, status: int
):
    play.world.faults.arm(point)
    assert play.post(a, key=KEY) is None
    play.let(31)
    late = posted(play, a)
    assert late["statusCode"] == status
    assert set(late["headers"]) == LOCATED | RATES
    assert kept(play.world)["body"] == late["body"]
    assert set(kept(play.world)["headers"]) == LOCATED
