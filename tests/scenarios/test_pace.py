"""Create requests are sent at our rate, whatever is to be called and whatever goes wrong."""

import itertools
from datetime import timedelta

import pytest

from callback.storage.departures import Departures
from callback.storage.table import Table
from tests.support.play import Play
from tests.support.trouble import CREATE
from tests.support.world import TABLE

SECOND = timedelta(seconds=1)
RATES = [1, 5, 20, 100]


def creates(play: Play):
    return sorted(call.created_at for call in play.calls())


def most_in_a_second(play: Play) -> int:
    """The most calls that the carrier created in any sliding second."""
    at = creates(play)
    return max(sum(first <= each < first + SECOND for each in at) for first in at)


def paced(play: Play, rate: float) -> Play:
    play.world.set_rate(rate)
    return play


def ended(play: Play, ids, within: float):
    play.until(lambda: all(map(play.has_ended, ids)), within)
    return [play.record(each) for each in ids]


@pytest.mark.parametrize("rate", RATES)
def test_no_second_has_more_create_requests_than_the_rate(play: Play, rate):
    paced(play, rate)
    ids = [
        play.accepted("1000123", "1000218", allow_parallel=True, max_duration_seconds=60)
        for _ in range(min(24, 6 + rate))
    ]
    records = ended(play, ids, within=200)
    assert {record["outcome"] for record in records} == {"completed"}
    assert len(play.calls()) == 2 * len(ids)
    assert most_in_a_second(play) <= rate


@pytest.mark.parametrize("rate", [1, 5])
def test_a_backlog_is_sent_at_almost_the_whole_rate(play: Play, rate):
    paced(play, rate)
    for _ in range(12):
        play.accepted("1000203", "1000218", allow_parallel=True)
    play.until(lambda: len(play.calls()) == 12, within=60)
    at = creates(play)
    assert 11 / (at[-1] - at[0]).total_seconds() >= 0.97 * rate


@pytest.mark.parametrize("rate", [1, 5])
def test_two_legs_that_are_called_at_once_depart_one_after_the_other(play: Play, rate):
    paced(play, rate)
    callback_id = play.accepted("1000123", "1000218", order="simultaneous")
    assert play.ended(callback_id, within=60)["outcome"] == "completed"
    first, second = creates(play)
    assert timedelta(seconds=1.0 / rate) <= second - first <= timedelta(seconds=1.1 / rate)


def test_a_request_that_the_carrier_turned_away_departs_again(play: Play):
    asked = []
    paced(play, 1).world.carrier_fault("429", times=2, where=CREATE, retry_after=3)
    with play.whenever(
        "before carrier.request", lambda: asked.append(play.world.clock.now()), times=3
    ):
        callback_id = play.accepted("1000123", "1000218")
        other = play.accepted("1000123", "1000218", allow_parallel=True)
        ended(play, [callback_id, other], within=90)
    assert all(b - a >= SECOND for a, b in itertools.pairwise(asked))
    assert most_in_a_second(play) == 1


def test_a_sender_that_is_late_departs_later(play: Play):
    """Storing the callback takes two seconds."""
    paced(play, 1)
    with play.whenever("before dynamodb.transact_write_items", lambda: play.let(2)):
        play.accepted("1000203", "1000218")
    play.accepted("1000203", "1000218", allow_parallel=True)
    play.until(lambda: len(play.calls()) == 2, within=10)
    assert most_in_a_second(play) == 1


def others_book(play: Play, departures: int) -> None:
    """So many create requests of other callbacks are to be sent first."""
    row = Departures(Table(play.world._dynamodb, TABLE), 1)
    for _ in range(departures):
        row.book(play.world.clock.now())


def test_a_leg_waits_in_the_queue_for_a_departure_that_is_far_ahead(play: Play):
    paced(play, 1)
    callback_id = play.accepted("1000201", "1000218")
    others_book(play, 20)
    play.until(lambda: bool(play.world.departures.waiting), within=10)
    assert play.record(callback_id)["leg_A"]["status"] == "joined"
    play.until(lambda: bool(play.calls("B")), within=25)
    assert play.ended(callback_id, within=30)["outcome"] == "completed"
    assert play.at(creates(play)[1]) >= 20


def test_a_leg_that_waits_in_the_queue_is_not_dialed_after_its_callback_was_canceled(play: Play):
    paced(play, 1)
    callback_id = play.accepted("1000201", "1000218")
    others_book(play, 20)
    play.until(lambda: bool(play.world.departures.waiting), within=10)
    play.world.request("DELETE", callback_id)
    assert play.ended(callback_id, within=10)["outcome"] == "canceled"
    play.let(40)
    assert play.calls("B") == []


def test_a_message_that_comes_twice_dials_once(play: Play):
    paced(play, 1)
    callback_id = play.accepted("1000201", "1000218")
    others_book(play, 5)
    play.until(lambda: bool(play.world.departures.waiting), within=10)
    play.world.departures.waiting *= 2
    assert play.ended(callback_id, within=60)["outcome"] == "completed"
    assert len(play.calls("B")) == 1


@pytest.mark.parametrize(
    "point",
    [
        f"{when} {what}"
        for when in ("before", "after")
        for what in ("sqs.send_message", "dynamodb.update_item", "carrier.request")
    ],
)
def test_wherever_a_process_dies_every_callback_ends_and_the_rate_holds(play: Play, point):
    paced(play, 1)
    others_book(play, 3)
    play.world.faults.arm(point)
    for _ in range(4):
        play.post("1000123", "1000218", allow_parallel=True)
    play.until(lambda: play.world.faults.killed == [point], within=20)
    ended(play, list(play.world.records()), within=300)
    assert most_in_a_second(play) == 1
    joined = [(c.callback_id, c.leg) for c in play.calls() if c.joined_at]
    assert len(joined) == len(set(joined))


def test_a_call_that_the_carrier_queues_lowers_our_rate_until_minutes_later(play: Play):
    """Another program uses up the account's rate."""
    paced(play, 5)
    others = play.world.clock.seconds() + 8
    play.world.carrier.call(setattr, play.world.carrier.exchange, "_next_slot", others)
    play.accepted("1000203", "1000218")
    play.until(lambda: rate_in_effect(play) < 5, within=12)
    assert rate_in_effect(play) == 4
    play.let(240, step=5)
    assert rate_in_effect(play) == 4
    play.let(300, step=5)
    assert rate_in_effect(play) == 5


def test_a_call_that_the_carrier_dials_at_once_leaves_our_rate(play: Play):
    paced(play, 5)
    play.ended(play.accepted("1000123", "1000218"), within=60)
    assert rate_in_effect(play) == 5


def rate_in_effect(play: Play) -> float:
    rate = Departures(Table(play.world._dynamodb, TABLE), 1).operators_rate()
    assert rate is not None
    return rate.effective
