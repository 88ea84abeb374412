"""A client's endpoint is down for days: what waits for it costs little and is not lost."""

import itertools
import json
import math
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from callback.lifecycle.models import Webhook, to_text
from callback.storage.table import Expression, Table
from callback.webhooks import breakers, deliveries, endpoints, resuming
from callback.webhooks.breakers import BreakerStore, Outage
from callback.webhooks.deliveries import DeliveryStatus, Target
from tests.support.relay import Relay
from tests.support.world import TABLE, TENANT

HOUR = 3600.0
DAY = 24 * HOUR
REPLAY = "failed/{delivery_id}/replay"
HERE = Target.at(TENANT, None)


def ids(relay: Relay, path: str = "/hook") -> list[str]:
    return [each.headers["webhook-id"] for each in relay.receiver.at(path)]


def table(relay: Relay) -> Table:
    return Table(relay.world._dynamodb, TABLE)


def breaker(relay: Relay, target: Target = HERE) -> breakers.Breaker | None:
    return BreakerStore(table(relay)).find(target)


def accepted(relay: Relay, first: int, number: int, apart: float = 0.0) -> list[str]:
    """Callbacks one after the other. Returns the ids of their events."""
    for each in range(first, first + number):
        relay.accepted(f"cb-{each}")
        relay.let(apart)
    return [f"msg_cb-{each}_1" for each in range(first, first + number)]


def down(relay: Relay) -> list[str]:
    """The endpoint is down, and the breaker knows. Returns the ids of its deliveries."""
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 500
    sent = accepted(relay, 1000, 5)
    state = breaker(relay)
    assert state is not None
    assert state.is_down
    return sent


def failed_ids(relay: Relay) -> list[str]:
    rows = table(relay).under(endpoints.partition(TENANT), "FAILED#")
    return sorted(row["message_id"] for row in rows)


def left(relay: Relay) -> list[str]:
    """The ids of deliveries that are pending."""
    rows = table(relay).under(endpoints.partition(TENANT), "MESSAGE#")
    return [row["message_id"] for row in rows if row["status"] == DeliveryStatus.PENDING]


# -- down and back -------------------------------------------------------------------------------


def test_an_endpoint_that_is_back_after_three_days_receives_everything_once_in_order(relay: Relay):
    first = down(relay)
    waiting = accepted(relay, 0, 60, apart=HOUR)
    looks = relay.looks
    relay.let(12 * HOUR)
    assert relay.looks - looks <= 25  # the probes alone
    del relay.receiver.answers["/hook"]
    before = len(ids(relay))
    relay.let(DAY)
    received = ids(relay)[before:]
    assert sorted(received) == sorted([*first, *waiting])
    # After the probe that found it back, in the order of the events.
    assert received[1:] == [each for each in [*first, *waiting] if each != received[0]]
    assert failed_ids(relay) == left(relay) == relay.index() == []
    assert breaker(relay) is None
    assert relay.hops <= deliveries.MOST_HOPS


def rows_of(relay: Relay) -> list[dict[str, object]]:
    return list(table(relay).under(endpoints.partition(TENANT), "MESSAGE#"))


def test_many_that_wait_are_looked_at_twice_whatever_the_outage_lasts(relay: Relay):
    down(relay)
    relay.let(2 * HOUR)
    before = relay.looks
    many = accepted(relay, 0, 80)
    assert relay.looks == before  # parked as they are published
    relay.let(20 * HOUR)
    probes = relay.looks - before
    assert probes <= 42
    del relay.receiver.answers["/hook"]
    relay.let(2 * HOUR)
    assert set(many) <= set(ids(relay))
    assert relay.looks - before - probes <= len(many) + 10
    assert left(relay) == []


def test_an_endpoint_that_never_comes_back_has_everything_listed_once(relay: Relay, caplog):
    first = down(relay)
    waiting = accepted(relay, 0, 20, apart=HOUR)
    relay.let(7 * DAY - 21 * HOUR)
    assert failed_ids(relay) == sorted([*first, *waiting])
    assert left(relay) == relay.index() == []
    ages = {
        row["message_id"]: row["failed_at"] - row["created_at"]  # type: ignore[operator]
        for row in map(times_of, rows_of(relay))
    }
    assert min(ages.values()) >= deliveries.AGE_LIMIT * 0.9
    assert "webhook delivery failed for good" in caplog.text
    relay.receiver.answers.clear()
    assert relay.ask("POST", REPLAY, delivery_id="msg_cb-3_1")[0] == 202
    relay.let(60)
    assert "msg_cb-3_1" in ids(relay)[-1:]


def times_of(row: dict[str, object]) -> dict[str, object]:
    delivery = deliveries._delivery(row)
    return {"message_id": delivery.message_id, **vars(delivery)}


def test_a_short_fault_delays_what_came_in_it_by_minutes_only(relay: Relay):
    first = down(relay)
    waiting = accepted(relay, 0, 10)
    del relay.receiver.answers["/hook"]
    relay.let(10)  # the probe's wait is 5 s
    relay.let(2 * 60)
    assert set(ids(relay)) == {*first, *waiting}
    assert left(relay) == []


def test_an_endpoint_that_refuses_one_kind_of_event_receives_the_others(relay: Relay):
    """The probe is another delivery each time, so that none keeps the others waiting."""
    relay.endpoint(events=["callback.accepted", "callback.ended"])
    refused: list[str] = []

    def poisoned(answer) -> None:
        (last,) = relay.receiver.at("/hook")[-1:]
        bad = json.loads(last.body)["type"] == "callback.ended"
        refused.extend([last.headers["webhook-id"]] * bad)
        status = b"500 No" if bad else b"204 OK"
        answer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

    relay.receiver.answers["/hook"] = poisoned
    for number in range(12):
        relay.accepted(f"cb-{number}")
        relay.canceled(f"cb-{number}")
        relay.let(60)
    relay.let(3 * HOUR)
    delivered = set(ids(relay)) - set(refused)
    assert delivered == {f"msg_cb-{number}_1" for number in range(12)}


def test_an_endpoint_that_does_not_know_some_events_is_not_down(relay: Relay):
    """A 4xx is the client's own answer about one event."""
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 404
    accepted(relay, 0, 8)
    state = breaker(relay)
    assert state is not None
    assert not state.is_down
    del relay.receiver.answers["/hook"]
    accepted(relay, 8, 1)
    state = breaker(relay)
    assert state is not None
    assert state.failures == 0


def test_an_endpoint_that_answers_404_to_everything_is_down_after_a_while(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 404
    accepted(relay, 0, 50)
    relay.let(10)
    looks = relay.looks
    accepted(relay, 51, 30)
    assert relay.looks - looks <= 1


def test_a_callbacks_own_url_is_down_alone(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    own = Webhook(f"{relay.receiver.url}/own", ["callback.accepted"])
    relay.receiver.answers["/own"] = 500
    for number in range(10):
        relay.accepted(f"own-{number}", webhook=own)
        relay.let(0)
    state = breaker(relay, Target.at(TENANT, own.url))
    assert state is not None
    assert state.is_down
    waiting = accepted(relay, 0, 3)
    assert ids(relay) == waiting
    del relay.receiver.answers["/own"]
    relay.let(HOUR)
    assert {each.split("_")[1] for each in ids(relay, "/own")} == {f"own-{n}" for n in range(10)}


def test_retry_after_of_a_probe_holds_for_all(relay: Relay):
    down(relay)
    accepted(relay, 0, 3)
    relay.let(HOUR)
    relay.receiver.answers["/hook"] = (503, {"Retry-After": "36000"})
    relay.let(HOUR)
    before = len(ids(relay))
    relay.let(9 * HOUR)
    assert len(ids(relay)) <= before + 1


# -- the client acts -----------------------------------------------------------------------------


def test_setting_the_endpoint_again_sends_what_is_parked(relay: Relay):
    first = down(relay)
    waiting = accepted(relay, 0, 5)
    relay.let(DAY)
    del relay.receiver.answers["/hook"]
    relay.endpoint("/new", events=["callback.accepted"])
    relay.let(3 * 60)
    assert set(ids(relay, "/new")) == {*first, *waiting}


def test_what_is_parked_for_an_endpoint_that_is_removed_is_listed(relay: Relay):
    first = down(relay)
    waiting = accepted(relay, 0, 5)
    assert relay.ask("DELETE", "endpoint")[0] == 204
    relay.let(10 * 60)
    assert failed_ids(relay) == sorted([*first, *waiting])
    assert {each["reason"] for each in relay.failed()} == {"endpoint_removed"}


def test_what_is_parked_for_an_endpoint_that_is_gone_is_listed(relay: Relay):
    first = down(relay)
    waiting = accepted(relay, 0, 5)
    relay.receiver.answers["/hook"] = 410
    relay.let(HOUR)
    assert failed_ids(relay) == sorted([*first, *waiting])
    assert Counter(each["reason"] for each in relay.failed())["http_410"] == 1


# -- crashes -------------------------------------------------------------------------------------

POINTS = [
    f"{when} {what}"
    for what in (
        "dynamodb.get_item",
        "dynamodb.batch_get_item",
        "dynamodb.query",
        "dynamodb.put_item",
        "dynamodb.update_item",
        "dynamodb.delete_item",
        "dynamodb.batch_write_item",
        "dynamodb.transact_write_items",
        "sqs.send_message",
        "sqs.send_message_batch",
    )
    for when in ("before", "after")
]


@pytest.mark.parametrize("nth", [1, 4])
@pytest.mark.parametrize("point", POINTS)
def test_no_crash_loses_a_delivery(relay: Relay, point: str, nth: int):
    """One crash while the endpoint is down, and one when it is back."""
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 500
    relay.world.faults.arm(point, nth)
    sent = accepted(relay, 0, 8)
    relay.let(3 * HOUR)
    relay.world.faults.arm(point, nth)
    del relay.receiver.answers["/hook"]
    relay.let(DAY)
    relay.world.faults.clear()
    assert set(ids(relay)) == set(sent)
    assert left(relay) == failed_ids(relay) == []
    relay.let(HOUR)
    assert relay.index() == []
    assert relay.hops <= deliveries.MOST_HOPS


@pytest.mark.parametrize("point", POINTS)
def test_no_crash_loses_a_delivery_that_fails_for_good(relay: Relay, point: str):
    sent = down(relay)
    sent += accepted(relay, 0, 4)
    relay.let(75 * HOUR)
    relay.world.faults.arm(point)
    relay.let(1.5 * DAY)
    relay.world.faults.clear()
    assert failed_ids(relay) == sorted(sent)
    assert left(relay) == []


# Nothing was written yet, so the delivery is still listed as failed.
NOT_REPLAYED = (
    "before dynamodb.get_item",
    "after dynamodb.get_item",
    "before dynamodb.transact_write_items",
)


@pytest.mark.parametrize(
    "point",
    [
        f"{when} {what}"
        for what in ("dynamodb.get_item", "dynamodb.transact_write_items", "sqs.send_message")
        for when in ("before", "after")
    ],
)
def test_a_replay_that_dies_loses_nothing(relay: Relay, point: str):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 410
    relay.accepted()
    relay.let(0)
    del relay.receiver.answers["/hook"]
    relay.endpoint(events=["callback.accepted"])
    relay.world.faults.arm(point)
    with pytest.raises(AssertionError):
        relay.ask("POST", REPLAY, delivery_id="msg_cb-1_1")
    assert relay.world.faults.killed == [point]
    relay.let(10 * 60)
    is_sent = len(ids(relay)) == 2
    assert failed_ids(relay) == ([] if is_sent else ["msg_cb-1_1"])
    assert is_sent == (point not in NOT_REPLAYED)
    assert left(relay) == []


def test_a_test_that_dies_before_its_message_is_sent(relay: Relay):
    relay.endpoint()
    relay.world.faults.arm("before sqs.send_message")
    with pytest.raises(AssertionError):
        relay.ask("POST", "endpoint/test")
    relay.let(10 * 60)
    assert len(ids(relay)) == 1


@pytest.mark.parametrize("answer", [204, 500])
def test_a_retry_whose_message_is_lost_is_made_some_minutes_later(relay: Relay, answer: int):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 500
    relay.accepted()
    relay.let(0)
    del relay.queue.messages[:]
    relay.receiver.answers["/hook"] = answer
    relay.let(8 * 60)
    assert len(ids(relay)) == 2


# -- races ---------------------------------------------------------------------------------------


def test_of_two_workers_one_opens_the_breaker_and_one_probe_is_left(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 500
    accepted(relay, 0, 4)
    module = relay.world.functions.find("local-notify-client").module
    relay.accepted("cb-4")
    relay.accepted("cb-5")
    relay.publish()
    bodies = [relay.queue.take(), relay.queue.take()]
    post = module.sender.post

    def while_another_fails(*given):
        module.sender.post = post
        relay.notify(str(bodies[1]))
        return post(*given)

    module.sender.post = while_another_fails
    relay.notify(str(bodies[0]))
    state = breaker(relay)
    assert state is not None
    assert (state.is_down, state.probe) == (True, "msg_cb-5_1")
    groups = Counter(entry["due_in"] for entry in relay.index())
    assert groups[HERE.parked] == 1  # the loser; the others wait for their 5 s
    relay.let(60)
    assert len([e for e in relay.index() if e["due_in"] == HERE.parked]) == 5
    del relay.receiver.answers["/hook"]
    relay.let(2 * HOUR)
    assert left(relay) == []


def test_a_delivery_parked_by_one_who_saw_the_target_down_just_before_is_released(relay: Relay):
    down(relay)
    relay.let(HOUR)
    del relay.receiver.answers["/hook"]
    relay.let(HOUR)
    assert breaker(relay) is None
    relay.receiver.answers["/hook"] = 500
    accepted(relay, 0, 5)
    state = breaker(relay)
    assert state is not None
    late = deliveries.park(
        replace(stored(relay, "msg_cb-0_1"), message_id="msg_late_1", revision=0)
    )
    BreakerStore(table(relay)).close(HERE)
    del relay.receiver.answers["/hook"]
    relay.let(100)
    relay.deliveries.add(late)
    relay.let(5 * 60)
    assert "msg_late_1" in ids(relay)
    assert breaker(relay) is None


def stored(relay: Relay, message_id: str) -> deliveries.Delivery:
    found = relay.deliveries.find(TENANT, message_id)
    assert found is not None
    return found


def test_two_runs_at_once_send_one_message(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 404
    relay.accepted()
    relay.let(HOUR)  # waits for two hours
    sent = relay.queue.sent
    relay._advance_to(relay.world.clock.seconds() + 3 * HOUR)
    store = relay.world.functions.find("local-resume-deliveries").module.deliveries
    read = store.read

    def after_another_run(*given):
        store.read = read
        found = read(*given)
        relay.resume()
        return found

    store.read = after_another_run
    relay.resume()
    assert relay.queue.sent == sent + 1


def test_an_entry_that_the_index_still_has_does_no_harm(relay: Relay):
    """The index is eventually consistent."""
    sent = down(relay)
    store = relay.world.functions.find("local-resume-deliveries").module.deliveries
    due = store.due

    def old(group, until, limit):
        known = [deliveries.Entry(TENANT, f"MESSAGE#{each}", to_text(relay.now)) for each in sent]
        return [*due(group, until, limit), *known[:limit]]

    store.due = old
    relay.let(HOUR)
    del relay.receiver.answers["/hook"]
    relay.let(3 * HOUR)
    del store.due
    relay.let(DAY)
    assert set(ids(relay)) == set(sent)
    assert left(relay) == []


# -- bounded and fair ----------------------------------------------------------------------------


def test_what_is_due_is_sent_in_slices_the_oldest_first_and_tenants_in_turn(
    relay: Relay, monkeypatch
):
    monkeypatch.setattr(resuming, "MOST", 40)
    relay.endpoint(events=["callback.accepted"])
    relay.endpoint(tenant="other", events=["callback.accepted"])
    for number in range(100):
        put_due(relay, TENANT, f"msg_{number:03}_1", number)
    for number in range(10):
        put_due(relay, "other", f"msg_other-{number}_1", 200 + number)
    relay.resume()
    sent = [json.loads(body)["message_id"] for _, _, body in sorted(relay.queue.messages)]
    assert len(sent) == 40
    assert sum("other" in each for each in sent) == 10
    mine = [each for each in sent if "other" not in each]
    assert mine == [f"msg_{number:03}_1" for number in range(30)]
    assert relay.queue.requests == 4
    relay.let(5 * 60)
    assert len(ids(relay)) == 110


def put_due(relay: Relay, tenant: str, message_id: str, seconds: int) -> None:
    at = relay.now - timedelta(hours=1) + timedelta(seconds=seconds)
    made = deliveries.Delivery(
        tenant, message_id, "callback.accepted", "{}", at, at, at + deliveries.LIFETIME
    )
    relay.deliveries.add(deliveries.index_from(made, at))


def test_a_target_that_is_back_gets_so_many_a_minute(relay: Relay, monkeypatch):
    monkeypatch.setattr(resuming, "RELEASED", 20)
    down(relay)
    relay.let(HOUR)
    accepted(relay, 0, 50)
    BreakerStore(table(relay)).close(HERE)
    del relay.receiver.answers["/hook"]
    before = len(ids(relay))
    counts = []
    for _ in range(5):
        relay.let(60)
        counts.append(len(ids(relay)) - before)
    assert max(later - earlier for earlier, later in itertools.pairwise([0, *counts])) <= 21
    assert counts[-1] == 55


def test_a_run_without_anything_due_reads_each_group_once_and_writes_nothing(relay: Relay):
    reached: Counter[str] = Counter()
    reach = relay.world.faults.reach
    relay.world.faults.reach = lambda point: reached.update([point]) or reach(point)  # type: ignore[method-assign, func-returns-value]
    relay.resume()
    del relay.world.faults.reach  # type: ignore[method-assign]
    assert reached == {
        "before dynamodb.query": deliveries.SHARDS,
        "after dynamodb.query": deliveries.SHARDS,
    }


# -- rows and messages of the version before -----------------------------------------------------


def test_a_delivery_of_the_version_before_that_waits_for_hours_goes_to_the_index(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.accepted()
    relay.publish()
    body = relay.queue.take()
    due = to_text(relay.now + timedelta(hours=5))
    change = Expression("SET due_at = :due REMOVE attempt_at", {":due": due})
    table(relay).update(deliveries._key(TENANT, "msg_cb-1_1"), change)
    relay.notify(str(body))
    assert relay.queue.messages == []
    relay.let(5 * HOUR - 60)
    assert ids(relay) == []
    relay.let(60)
    assert ids(relay) == ["msg_cb-1_1"]


def test_a_chain_of_messages_ends_in_the_index(relay: Relay):
    """However often a worker is told to come back."""
    relay.endpoint(events=["callback.accepted"])
    relay.accepted()
    relay.publish()
    body = relay.queue.take()
    for _ in range(20):
        claimed = stored(relay, "msg_cb-1_1")
        due_at = relay.now + deliveries.LEASE
        assert relay.deliveries.change(claimed, replace(claimed, due_at=due_at))
        if body is not None:
            relay.notify(body)
        relay._advance_to(relay.world.clock.seconds() + 61)
        body = relay.queue.take()
    assert relay.hops <= deliveries.MOST_HOPS
    relay.let(HOUR)
    assert ids(relay) == ["msg_cb-1_1"]


# -- what it costs -------------------------------------------------------------------------------

# $ (us-east-1, on demand): a write unit, a read unit, a request to SQS, an invocation of 100 ms
# with 512 MB on arm64.
WRITE, READ, REQUEST, INVOCATION = 0.625e-6, 0.125e-6, 0.4e-6, 0.2e-6 + 0.05 * 13.3334e-6
EVENTS = 13  # of a callback


class Costs:
    """What is spent on webhooks between two moments, without the callbacks themselves."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._began = self._so_far()

    def _so_far(self) -> float:
        relay = self._relay
        received = 2 * relay.looks  # each message is received and deleted
        return (
            WRITE * sum(map(units_of, relay.kept))
            + REQUEST * (relay.queue.requests + received)
            + INVOCATION * relay.looks
            + READ
            * (3 * relay.looks + 2 * sum("OldImage" not in r["dynamodb"] for r in relay.kept))
        )

    def spent(self) -> float:
        return self._so_far() - self._began


def size_of(image: dict) -> int:
    """Bytes of an item: of its names and values (DynamoDB Developer Guide, "Item sizes")."""
    return sum(len(name) + len(*value.values()) for name, value in image.items())


def units_of(record: dict) -> int:
    """Write units, with those of the index. None of these writes is in a transaction."""
    change = record["dynamodb"]
    images = [change[name] for name in ("OldImage", "NewImage") if name in change]
    size = max(map(size_of, images))
    entries = [
        (image["due_in"]["S"], image["due_at"]["S"]) if "due_in" in image else None
        for image in (change.get("OldImage", {}), change.get("NewImage", {}))
    ]
    changed = entries[0] != entries[1]
    return math.ceil(size / 1024) + changed * sum(map(bool, entries))


def test_a_dead_endpoint_costs_little_more_than_one_that_works(relay: Relay):
    """Per million callbacks with all events: at most $10 more. It was $9,300."""
    relay.endpoint(events=["callback.accepted"])
    costs = Costs(relay)
    accepted(relay, 0, 25)
    works = costs.spent() / 25
    down(relay)
    relay.let(2 * HOUR)
    looks, costs = relay.looks, Costs(relay)
    probing = len(ids(relay))
    accepted(relay, 2000, 25)
    published = costs.spent() / 25
    assert relay.looks == looks
    relay.let(3 * DAY)
    assert left(relay) != []
    probes = len(ids(relay)) - probing
    assert relay.looks - looks == probes <= 150
    probed = costs.spent() - 25 * published
    relay.let(4 * DAY)
    assert left(relay) == []
    # Each is written and listed as failed, and read before.
    images = [(r, r["dynamodb"].get("NewImage", {})) for r in relay.kept]
    ends = [r for r, image in images if image.get("status") == {"S": "failed"}]
    assert len(ends) == 2 * len(failed_ids(relay))
    ended = WRITE * sum(map(units_of, ends)) / len(failed_ids(relay)) + 2 * READ
    dead = published + ended
    print({"works": works, "published": published, "dead": dead, "probes of 3 days": probed})
    assert (dead - works) * 1e6 * EVENTS <= 10
    assert probed <= 0.01  # $ for the whole outage, however many wait


def test_a_delivery_that_succeeds_at_once_writes_nothing_into_the_index(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.accepted()
    relay.let(0)
    messages = [r for r in relay.kept if r["dynamodb"]["Keys"]["sk"]["S"].startswith("MESSAGE#")]
    assert len(messages) == 3  # stored, claimed, delivered
    assert not any("due_in" in r["dynamodb"]["NewImage"] for r in messages)
    assert breaker(relay) is None


def test_an_outage_is_opened_once(relay: Relay):
    store = BreakerStore(table(relay))
    outage = Outage("http_500", None, relay.now)
    assert store.open(HERE, outage)
    assert not store.open(HERE, outage)
    assert not store.probe_again(HERE, "msg_not-the-probe_1", outage)
    assert store.close(HERE)
    assert not store.close(HERE)
