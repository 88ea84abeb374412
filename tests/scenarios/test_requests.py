"""Scenarios 1 and 2: the same request comes more than once."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.play import Play
from tests.support.world import PATH, TENANT, World, caller, without_rates

KEY = "a-key-of-a-client"
BODY = {"leg_A": {"to": "1000201"}, "leg_B": {"to": "1000218"}}


def sent(world: World, body=BODY, tenant=TENANT):
    """An event as API Gateway makes it, for posting from a thread of one's own."""
    return world.invoke(
        "CallbackApi",
        {
            "routeKey": f"POST {PATH}",
            "headers": {"idempotency-key": KEY},
            "requestContext": caller(tenant),
            "body": json.dumps(body),
        },
    )[0]


def without_mark(answer):
    assert answer["headers"].pop("Idempotent-Replayed") == "true"
    return answer


def test_the_same_post_sent_again_after_a_gateway_timeout_is_answered_once(play: Play):
    """The client gave up waiting; the function goes on, and the client sends it again."""
    at_once = []
    with play.whenever("after carrier.request", lambda: at_once.append(sent(play.world))):
        first = without_rates(play.post("1000201", "1000218", key=KEY))
    assert first["statusCode"] == 202
    assert at_once[0]["statusCode"] == 409
    assert json.loads(at_once[0]["body"])["code"] == "request_in_progress"
    assert at_once[0]["headers"]["Retry-After"] == "1"
    play.let(30)
    assert without_mark(play.post("1000201", "1000218", key=KEY)) == first, "byte for byte"
    assert len(play.calls("A")) == 1


@pytest.mark.parametrize(
    "point",
    [
        "after dynamodb.transact_write_items",
        "after carrier.request",
        "before states.start_execution",
        "after states.start_execution",
        "before dynamodb.update_item",
    ],
)
def test_the_same_post_sent_again_after_the_function_died_completes_the_first(play: Play, point):
    play.world.faults.arm(point)
    assert play.post("1000201", "1000218", key=KEY) is None
    play.let(31)
    second = play.post("1000201", "1000218", key=KEY)
    assert second["statusCode"] == 202
    assert json.loads(second["body"])["callback_id"] == play.the_only_id()
    assert play.ended(play.the_only_id(), within=60)["outcome"] == "completed"
    assert [len(play.calls(leg)) for leg in "AB"] == [1, 1]


def test_a_post_that_died_before_anything_was_stored_is_new_when_it_is_sent_again(play: Play):
    play.world.faults.arm("before dynamodb.transact_write_items")
    assert play.post("1000201", "1000218", key=KEY) is None
    assert play.post("1000201", "1000218", key=KEY)["statusCode"] == 202
    assert len(play.calls("A")) == 1


def test_fifty_identical_posts_at_once_make_one_callback(play: Play, monkeypatch):
    """DynamoDB carries out one request on a row at a time; the simulated one has to be told."""
    parallel = {**BODY, "allow_parallel": True}
    one_at_a_time, around = threading.Lock(), play.world.faults.around

    def serial(name, call):
        def locked(*args, **kwargs):
            with one_at_a_time:
                return call(*args, **kwargs)

        return around(name, locked if name.startswith("dynamodb") else call)

    monkeypatch.setattr(play.world.faults, "around", serial)
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda _: sent(play.world, parallel), range(50)))
    accepted = [answer for answer in answers if answer["statusCode"] == 202]
    refused = [json.loads(a["body"])["code"] for a in answers if a["statusCode"] != 202]
    assert {answer["body"] for answer in accepted} == {accepted[0]["body"]}
    assert set(refused) <= {"request_in_progress", "store_contended"}
    assert len(play.world.records()) == 1
    assert len(play.calls()) == 1


def test_the_same_key_from_two_tenants_makes_two_callbacks(play: Play):
    for tenant in ("one", "other"):
        play.world.make_tenant(tenant)
    answers = [sent(play.world, tenant=tenant) for tenant in ("one", "other", "one")]
    assert [answer["statusCode"] for answer in answers] == [202] * 3
    ids = [json.loads(answer["body"])["callback_id"] for answer in answers]
    assert ids[0] == ids[2] != ids[1]
    assert len(play.calls("A")) == 2


def test_the_same_key_with_another_leg_b_is_refused_and_dials_nobody(play: Play):
    first = without_rates(play.post("1000201", "1000218", key=KEY))
    other = play.post("1000201", "1000125", key=KEY)
    assert other["statusCode"] == 422
    assert json.loads(other["body"])["code"] == "idempotency_key_reused"
    assert len(play.world.records()) == len(play.calls()) == 1
    again = play.post("1000201", "1000218", key=KEY)
    assert without_mark(again) == first, "the stored answer is untouched"
