"""Many changes are published with few requests; nothing is lost, each callback stays in order."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.relay import Relay


def counted(relay: Relay, work: Callable[[], None]) -> Counter[str]:
    """The requests that the work makes, by name."""
    reached: Counter[str] = Counter()
    reach = relay.world.faults.reach

    def count(point: str) -> None:
        reached.update([point.partition(" ")[2]] if point.startswith("before") else [])
        reach(point)

    relay.world.faults.reach = count  # type: ignore[method-assign]
    try:
        work()
    finally:
        del relay.world.faults.reach  # type: ignore[method-assign]
    return reached


def published(relay: Relay) -> list[tuple[str, int]]:
    """(callback, sequence) of each event on the bus, in order, without repetitions."""
    data = [json.loads(entry["Detail"])["data"] for entry in relay.bus.published]
    return list(dict.fromkeys((each["callback_id"], each["sequence"]) for each in data))


def assert_in_order(relay: Relay, sequences: dict[str, int]) -> None:
    """Each callback's first to last event is on the bus, in order."""
    for callback_id, last in sequences.items():
        own = [sequence for name, sequence in published(relay) if name == callback_id]
        assert own == list(range(1, last + 1)), callback_id


def test_thirty_changes_are_published_with_nine_requests(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    for number in range(30):
        relay.accepted(f"cb-{number}")
    assert counted(relay, relay.publish) == {
        "dynamodb.batch_get_item": 2,  # the endpoint with its breaker, and the deliveries
        "dynamodb.batch_write_item": 2,
        "sqs.send_message_batch": 3,
        "events.put_events": 3,
    }
    relay.let(0)
    assert len(relay.receiver.at("/hook")) == 30


def test_an_endpoint_is_read_once_in_some_seconds(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.accepted("cb-1")
    relay.publish()
    relay.accepted("cb-2")
    assert counted(relay, relay.publish)["dynamodb.batch_get_item"] == 1
    relay.let(6)
    relay.accepted("cb-3")
    assert counted(relay, relay.publish)["dynamodb.batch_get_item"] == 2


def test_a_new_endpoint_misses_nothing(relay: Relay):
    """That there was none is not remembered."""
    relay.accepted("cb-1")
    relay.publish()
    relay.endpoint()
    relay.accepted("cb-2")
    relay.let(0)
    assert [e["data"]["callback_id"] for e in relay.told()] == ["cb-2"]


def test_the_events_of_each_callback_stay_in_order_in_a_batch(relay: Relay):
    for number in range(7):
        relay.accepted(f"cb-{number}")
    for number in range(7):
        relay.dialed(f"cb-{number}")
    for number in (3, 1):
        relay.accepted(f"more-{number}")
        relay.canceled(f"more-{number}")
    relay.publish()
    assert_in_order(relay, {f"cb-{number}": 3 for number in range(7)} | {"more-1": 4, "more-3": 4})
    assert relay.bus.requests <= 6


@pytest.mark.parametrize("refusals", [1, 2, 3, 7])
def test_the_order_stays_if_the_bus_refuses_events(relay: Relay, refusals: int):
    for number in range(3):
        relay.accepted(f"cb-{number}")
        relay.dialed(f"cb-{number}")
    relay.bus.refusals = ["ThrottlingException"] * refusals
    relay.publish()
    assert_in_order(relay, {f"cb-{number}": 3 for number in range(3)})


def test_the_first_change_that_was_not_published_is_reported(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    for number in range(15):
        relay.accepted(f"cb-{number}")
    records = list(relay.writes)
    relay.queue.refusals = [3]
    answer, error = relay.world.invoke("PublishEvents", {"Records": records})
    assert error is None
    failed = [each["itemIdentifier"] for each in answer["batchItemFailures"]]
    assert failed == [records[3]["dynamodb"]["SequenceNumber"]]
    assert [name for name, _ in published(relay)] == ["cb-0", "cb-1", "cb-2"]
    relay.let(0)
    assert len(published(relay)) == len({e.body for e in relay.receiver.at("/hook")}) == 15


def test_a_row_that_dynamodb_has_no_capacity_for_is_written_later(relay: Relay, monkeypatch):
    relay.endpoint(events=["callback.accepted"])
    for number in range(5):
        relay.accepted(f"cb-{number}")
    client = relay.world._dynamodb
    write, refusals = client.batch_write_item, [2]

    def two_at_most(**request: Any) -> Any:
        (name, writes), *_ = request["RequestItems"].items()
        most = refusals.pop() if refusals else len(writes)
        response = write(RequestItems={name: writes[:most]})
        return response | {"UnprocessedItems": {name: writes[most:]} if writes[most:] else {}}

    monkeypatch.setattr(client, "batch_write_item", two_at_most)
    relay.let(0)
    assert refusals == []
    received = [each.headers["webhook-id"] for each in relay.receiver.at("/hook")]
    assert sorted(received) == [f"msg_cb-{number}_1" for number in range(5)]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "point",
    [
        f"{when} {what}"
        for what in (
            "dynamodb.batch_get_item",
            "dynamodb.batch_write_item",
            "sqs.send_message_batch",
            "events.put_events",
        )
        for when in ("before", "after")
    ],
)
def test_a_publisher_that_dies_in_a_batch_loses_nothing(relay: Relay, point: str, times: int):
    relay.endpoint(events=["callback.accepted"])
    for number in range(40):
        relay.accepted(f"cb-{number}")
    for number in range(5):
        relay.dialed(f"cb-{number}")
    relay.world.faults.arm(point, times)
    relay.publish()
    assert relay.world.faults.killed == [point]
    relay.let(0)
    received = {each.headers["webhook-id"] for each in relay.receiver.at("/hook")}
    assert received == {f"msg_cb-{number}_1" for number in range(40)}
    assert_in_order(relay, {f"cb-{number}": 3 if number < 5 else 1 for number in range(40)})


def test_a_change_that_cannot_be_read_fails_the_batch_so_that_lambda_halves_it(relay: Relay):
    relay.accepted("cb-1")
    relay.accepted("cb-2")
    (good, bad) = relay.writes
    del bad["dynamodb"]["NewImage"]["room"]
    assert relay.world.invoke("PublishEvents", {"Records": [good, bad]})[1] == "TypeError"
    assert relay.world.invoke("PublishEvents", {"Records": [good]})[1] is None
    assert [name for name, _ in published(relay)] == ["cb-1"]
