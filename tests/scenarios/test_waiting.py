"""A callback that cannot be started now waits for its turn, while other calls come first."""

import itertools
import json
from datetime import timedelta

import pytest

from callback.lifecycle.events import derive_events
from callback.lifecycle.models import from_record
from callback.storage import counters
from callback.storage.departures import Departures
from callback.storage.table import Table, to_row
from callback.tenancy.pepper import Pepper
from callback.tenancy.suppression import SuppressionList
from tests.support.play import Play
from tests.support.world import TABLE, TENANT, FixedPepper, caller

SECOND = timedelta(seconds=1)


def table(play: Play) -> Table:
    return Table(play.world._dynamodb, TABLE)


def crowded(play: Play, seconds: float = 20) -> Play:
    """One call a second, and other callbacks have booked all departures of the next seconds."""
    play.world.set_rate(1)
    row = Departures(table(play), 1)
    for _ in range(int(seconds)):
        row.book(play.world.clock.now())
    return play


def waiting(play: Play, a: str = "1000123", **fields) -> str:
    """POST a callback that must wait. Returns its id."""
    callback_id = play.accepted(a, allow_parallel=True, **fields)
    assert play.record(callback_id)["status"] == "waiting"
    play.let(0.1, step=0.1)  # the next one is created later
    return callback_id


def places(play: Play) -> int:
    """How many callbacks the tenant's counter counts as waiting."""
    rows = table(play).read(
        [counters.shard_key(counters.waiting(TENANT), shard) for shard in range(10)]
    )
    return sum(int(row["used"]) for row in rows.values())


def outcome(record) -> tuple[str, str, str]:
    return record["status"], record["outcome"], record["cause"]


def nobody_is_called_twice(play: Play) -> None:
    called = [(call.callback_id, call.leg) for call in play.calls()]
    assert len(called) == len(set(called))


# -- it waits --------------------------------------------------------------------------------------


def test_it_says_what_it_waits_for_and_is_started_in_time(play: Play):
    crowded(play, seconds=20)
    answer = play.post("1000123")
    assert answer is not None
    record = json.loads(answer["body"])
    assert answer["statusCode"] == 202
    assert (record["status"], record["waiting_for"]) == ("waiting", "departure")
    assert play.at(record["start_by"]) == play.now + 120
    assert record["leg_A"]["status"] == "planned"
    assert play.calls() == []
    assert list(play.world.sequencer.executions) == []
    play.until(lambda: bool(play.calls()), within=30)
    (call,) = play.calls()
    assert abs(play.at(call.created_at) - play.at(record["expected_at"])) < 3
    ended = play.ended(record["callback_id"], within=60)
    assert (ended["outcome"], ended["waiting_for"], ended["expected_at"]) == (
        "completed",
        None,
        None,
    )
    assert places(play) == 0


def test_its_clients_learn_that_it_was_accepted_and_waits(play: Play):
    crowded(play, seconds=20)
    callback_id = waiting(play)
    stored = from_record(to_row(play.world.records()[callback_id]))
    assert [(each.type, each.sequence) for each in derive_events(None, stored)] == [
        ("callback.accepted", 1),
        ("callback.waiting", 2),
    ]


def test_its_record_is_kept_from_its_end_on(play: Play):
    crowded(play, seconds=20)
    callback_id = play.accepted("1000123", start_within_seconds=86_400)
    ended = play.ended(callback_id, within=120)
    stored = play.world.records()[callback_id]["expires_at"]["S"]
    assert play.at(stored) - play.at(ended["ended_at"]) == 30 * 86_400


def test_it_takes_neither_a_place_nor_money(play: Play):
    waiting(crowded(play, seconds=20))
    used = table(play).read([counters.at_once(TENANT)])
    assert used == {}
    assert places(play) == 1


def test_it_keeps_others_of_the_same_two_parties_away(play: Play):
    crowded(play, seconds=20)
    callback_id = play.accepted("1000123")
    answer = play.post("1000123")
    assert answer is not None
    problem = json.loads(answer["body"])
    assert (problem["code"], problem["callback_id"]) == ("callback_in_progress", callback_id)


def test_a_new_callback_does_not_overtake_it(play: Play):
    crowded(play, seconds=3)
    first, second = waiting(play, "1000201"), waiting(play, "1000203")
    play.let(3)
    third = play.accepted("1000204", allow_parallel=True)
    play.until(lambda: len(play.calls("A")) == 3, within=60)
    order = sorted(play.calls("A"), key=lambda call: call.created_at)
    assert [call.callback_id for call in order] == [first, second, third]


def test_both_legs_of_simultaneous_ones_depart_one_after_the_other(play: Play):
    crowded(play, seconds=10)
    callback_id = waiting(play, order="simultaneous")
    assert play.ended(callback_id, within=120)["outcome"] == "completed"
    a, b = sorted(call.created_at for call in play.calls())
    assert SECOND <= b - a <= 1.1 * SECOND


def test_a_repetition_of_its_request_gets_its_first_response(play: Play):
    crowded(play, seconds=20)
    first = play.post("1000123", key="a-key-of-a-client")
    second = play.post("1000123", key="a-key-of-a-client")
    assert first is not None
    assert second is not None
    assert first["body"] == second["body"]
    assert second["headers"]["Idempotent-Replayed"] == "true"


def test_no_more_of_them_wait_than_the_policy_allows(play: Play):
    play.world.set_policy(waiting_callbacks="1")
    crowded(play, seconds=20)
    waiting(play)
    answer = play.post("1000203")
    assert answer is not None
    assert answer["statusCode"] == 429
    assert json.loads(answer["body"])["code"] == "too_many_waiting"


def test_one_that_may_not_wait_is_refused_with_a_true_time(play: Play):
    crowded(play, seconds=20)
    answer = play.post("1000123", start_within_seconds=0)
    assert answer is not None
    assert answer["statusCode"] == 429
    assert json.loads(answer["body"])["code"] == "no_departure"
    seconds = int(answer["headers"]["Retry-After"])
    assert 19 <= seconds <= 22
    assert play.world.records() == {}
    play.let(seconds)
    play.accepted("1000123", start_within_seconds=0)
    assert len(play.calls()) == 1


# -- it is never started ---------------------------------------------------------------------------


def test_it_expires_when_it_has_waited_for_as_long_as_it_may(play: Play):
    crowded(play, seconds=200)
    callback_id = waiting(play, start_within_seconds=30)
    record = play.ended(callback_id, within=95)
    assert outcome(record) == ("ended", "expired", "no_departure")
    assert play.calls() == []
    assert places(play) == 0


def test_one_whose_party_was_suppressed_meanwhile_is_not_placed(play: Play):
    crowded(play, seconds=10)
    refused, other = waiting(play, "1000203"), waiting(play, "1000201")
    pepper = Pepper("any", FixedPepper())  # type: ignore[arg-type]
    SuppressionList(table(play), pepper).add(TENANT, "1000203")
    play.until(lambda: bool(play.calls()), within=60)
    assert outcome(play.record(refused)) == ("ended", "not_placed", "suppressed")
    assert [call.callback_id for call in play.calls()] == [other]
    assert places(play) == 0


def test_one_whose_tenant_was_stopped_meanwhile_is_not_placed(play: Play):
    crowded(play, seconds=10)
    callback_id = waiting(play)
    play.world.set_policy(enabled="false")
    record = play.ended(callback_id, within=80)
    assert outcome(record) == ("ended", "not_placed", "calling_stopped")
    assert play.calls() == []


def test_one_that_is_canceled_ends_at_once(play: Play):
    crowded(play, seconds=20)
    callback_id = waiting(play)
    answer = play.world.request("DELETE", callback_id)
    assert answer is not None
    assert outcome(json.loads(answer["body"])) == ("ended", "canceled", "client_request")
    assert places(play) == 0
    play.let(130)
    assert play.calls() == []
    assert list(play.world.sequencer.executions) == []


# -- full limits -----------------------------------------------------------------------------------


def test_full_limits_refuse_it_or_let_it_wait_for_room(play: Play):
    play.world.set_rate(100)
    play.world.set_policy(concurrent_callbacks="1")
    first = play.accepted("1000201")
    answer = play.post("1000203")
    assert answer is not None
    assert json.loads(answer["body"])["code"] == "too_many_at_once"
    play.world.set_policy(when_full="wait")
    play.let(6)
    second = waiting(play, "1000123")
    assert play.record(second)["waiting_for"] == "limits"
    play.ended(first, within=60)
    assert play.ended(second, within=120)["outcome"] == "completed"


def test_one_that_waits_for_full_limits_expires_with_that_cause(play: Play):
    play.world.set_rate(100)
    play.world.set_policy(concurrent_callbacks="1", when_full="wait")
    first = play.accepted("1000201")
    callback_id = waiting(play, "1000123", start_within_seconds=5)
    play.ended(first, within=600)
    record = play.ended(callback_id, within=95)
    assert outcome(record) == ("ended", "expired", "limits_full")


def test_a_tenant_without_room_holds_up_no_other(play: Play):
    crowded(play, seconds=10)
    play.world.set_policy(concurrent_callbacks="1", when_full="wait")
    play.world.make_tenant("another")
    mine = [waiting(play, "1000201", max_duration_seconds=60) for _ in range(2)]
    theirs = post_of(play, "another", "1000203")
    play.until(lambda: len(play.calls("A")) == 2, within=60)
    play.let(20)
    assert theirs in {call.callback_id for call in play.calls()}
    assert [play.record(each)["status"] for each in mine].count("waiting") == 1


# -- many ------------------------------------------------------------------------------------------


def post_of(play: Play, tenant: str, a: str, **fields) -> str:
    body = {"leg_A": {"to": a}, "leg_B": {"to": "1000218"}, "allow_parallel": True, **fields}
    answer, error = play.world.invoke(
        "CallbackApi",
        {
            "version": "2.0",
            "routeKey": "POST /voice/call/callback",
            "headers": {},
            "requestContext": caller(tenant),
            "body": json.dumps(body),
        },
    )
    assert error is None
    assert answer["statusCode"] == 202, answer
    return str(json.loads(answer["body"])["callback_id"])


def test_two_tenants_take_turns(play: Play):
    crowded(play, seconds=8)
    play.world.make_tenant("another")
    many = {post_of(play, TENANT, "1000203", start_within_seconds=600) for _ in range(12)}
    few = {post_of(play, "another", "1000203", start_within_seconds=600) for _ in range(3)}
    play.until(lambda: len(play.calls("A")) >= 8, within=120)
    order = sorted(play.calls("A"), key=lambda call: call.created_at)
    started = [call.callback_id in few for call in order[:7]]
    assert started.count(True) == 3
    assert not any(a and b for a, b in itertools.pairwise(started))
    assert {call.callback_id for call in order} <= many | few


def test_a_dialers_callbacks_talk_although_the_carrier_dials_one_call_a_second(play: Play):
    play.world.set_rate(1)
    parties = [f"10004{n:02}" for n in range(30)]
    for n, party in enumerate(parties):
        play.party(party, answer_after=3 + n % 6, hang_up_after=60)
    play.party("1000499", answer_after=4, hang_up_after=20)
    ids = []
    for party in parties:
        ids.append(play.accepted(party, "1000499", allow_parallel=True))
        play.let(1)
    play.until(lambda: all(map(play.has_ended, ids)), within=300)
    records = [play.record(each) for each in ids]
    answered = [record for record in records if record["leg_A"]["answered_at"]]
    talked = [record for record in answered if record["outcome"] == "completed"]
    assert len(answered) == 30
    assert len(talked) >= 0.97 * len(answered)
    waits = [
        play.at(record["leg_B"]["dialed_at"]) - play.at(record["leg_A"]["joined_at"])
        for record in talked
    ]
    assert max(waits) <= 10
    at = sorted(call.created_at for call in play.calls())
    assert max(sum(first <= each < first + SECOND for each in at) for first in at) == 1
    nobody_is_called_twice(play)


# -- crashes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "point",
    [
        f"{when} {what}"
        for when in ("before", "after")
        for what in (
            "dynamodb.query",
            "dynamodb.update_item",
            "dynamodb.batch_get_item",
            "dynamodb.transact_write_items",
            "dynamodb.put_item",
            "carrier.request",
            "states.start_execution",
        )
    ],
)
def test_wherever_a_process_dies_none_is_left_waiting_and_nobody_is_called_twice(
    play: Play, point: str
):
    crowded(play, seconds=5)
    ids = [waiting(play, start_within_seconds=600) for _ in range(2)]
    depart_next, armed = play.world.departures.take, []

    def arm_first():
        due = depart_next()
        if any('"first"' in body for body in due) and not armed:
            armed.append(point)
            play.world.faults.arm(point, nth=2 if "update_item" in point else 1)
        return due

    play.world.departures.take = arm_first
    try:
        play.until(lambda: all(map(play.has_ended, ids)), within=400)
    finally:
        del play.world.departures.take
    assert play.world.faults.killed == [point]
    records = [play.record(each) for each in ids]
    assert {record["outcome"] for record in records} == {"completed"}
    joined = [(call.callback_id, call.leg) for call in play.calls() if call.joined_at]
    assert len(joined) == len(set(joined)) == 4
    if "carrier" not in point:
        nobody_is_called_twice(play)
    assert places(play) == 0


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "what", ["dynamodb.transact_write_items", "dynamodb.update_item", "sqs.send_message"]
)
def test_wherever_its_post_dies_it_is_started_or_was_never_accepted(play: Play, when, what):
    crowded(play, seconds=5)
    play.world.faults.arm(f"{when} {what}", nth=2 if "update_item" in what else 1)
    assert play.post("1000123") is None
    stored = list(play.world.records())
    was_stored = what.startswith("sqs") or (when, what) == (
        "after",
        "dynamodb.transact_write_items",
    )
    assert len(stored) == was_stored
    for callback_id in stored:
        assert play.ended(callback_id, within=120)["outcome"] == "completed"


def test_a_message_that_comes_twice_starts_each_once(play: Play):
    crowded(play, seconds=5)
    ids = [waiting(play) for _ in range(3)]
    play.world.departures.waiting *= 3
    play.until(lambda: all(map(play.has_ended, ids)), within=120)
    nobody_is_called_twice(play)


def test_the_plan_forgets_tenants_of_which_nobody_waits(play: Play):
    crowded(play, seconds=5)
    play.ended(waiting(play), within=100)
    play.let(240)
    assert list(table(play).under("WAITING-TENANTS")) == []
