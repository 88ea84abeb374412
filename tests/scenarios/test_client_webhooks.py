"""Scenario 20: a client's endpoint is down for days, and everything else that can go wrong."""

import itertools
import json
import re
from dataclasses import replace
from datetime import timedelta
from io import BufferedIOBase
from unittest import mock

import pytest
from standardwebhooks import WebhookVerificationError

from callback.lifecycle import transitions
from callback.lifecycle.models import LegName, LegOutcome, LegStatus, Webhook, to_text
from callback.webhooks import notifying
from callback.webhooks.deliveries import SCHEDULE
from callback.webhooks.publishing import EventBus
from tests.support.build import SIDS
from tests.support.relay import Relay, sent_at, verified
from tests.support.world import TENANT, caller

REPLAY = "failed/{delivery_id}/replay"
DAY = timedelta(days=1).total_seconds()
EVERYTHING = timedelta(hours=75, minutes=35, seconds=5).total_seconds()


def ids(relay: Relay, path: str = "/hook") -> list[str]:
    return [each.headers["webhook-id"] for each in relay.receiver.at(path)]


# -- the schedule --------------------------------------------------------------------------------


def test_an_endpoint_that_is_down_for_days_is_tried_ten_times_over_75_hours(relay: Relay):
    secret = relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 500
    relay.accepted()
    relay.let(4 * DAY)
    tried = relay.receiver.at("/hook")
    assert len(tried) == 10
    assert {each.headers["webhook-id"] for each in tried} == {"msg_cb-1_1"}
    assert len({each.body for each in tried}) == 1
    assert all(verified(each, secret)["type"] == "callback.accepted" for each in tried)
    waits = [later - earlier for earlier, later in itertools.pairwise(map(sent_at, tried))]
    for wait, planned in zip(waits, SCHEDULE[1:], strict=True):
        assert 0.9 * planned.total_seconds() - 1 <= wait <= 1.1 * planned.total_seconds() + 2
    assert 0.9 * EVERYTHING <= sum(waits) <= 1.1 * EVERYTHING
    # Nobody waits exactly as long as is written, so that not all come back at once.
    assert sum(abs(w - p.total_seconds()) > 2 for w, p in zip(waits, SCHEDULE[1:], strict=True)) > 5


def test_the_whole_schedule_is_75_hours_35_minutes_5_seconds():
    assert sum(SCHEDULE, timedelta()).total_seconds() == EVERYTHING
    assert len(SCHEDULE) == 10


def test_an_endpoint_that_comes_back_receives_the_event_once(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 503
    relay.accepted()
    relay.let(2 * DAY)
    before = len(ids(relay))
    del relay.receiver.answers["/hook"]
    relay.let(3 * DAY)
    assert before > 5
    assert len(ids(relay)) == before + 1
    assert relay.failed() == []
    assert relay.queue.messages == []


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_endpoint_that_asks_for_time_gets_it(relay: Relay, status: int):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = (status, {"Retry-After": "7200"})
    relay.accepted()
    relay.let(0)
    del relay.receiver.answers["/hook"]
    relay.let(7199)
    assert len(ids(relay)) == 1
    relay.let(5)
    assert len(ids(relay)) == 2


def test_an_endpoint_that_names_the_time_gets_it(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    later = relay.now + timedelta(hours=3)
    date = later.strftime("%a, %d %b %Y %H:%M:%S GMT")
    relay.receiver.answers["/hook"] = (503, {"Retry-After": date})
    relay.accepted()
    relay.let(3 * 3600 - 5)
    assert len(ids(relay)) == 1
    relay.let(10)
    assert len(ids(relay)) == 2


@pytest.mark.parametrize(
    "text",
    ["-1", "soon", "Tue, 24 Nov", "1e3", "", "Tue, 24 Nov 99999999999999999999 00:00:00 GMT"],
)
def test_nonsense_in_retry_after_delays_nothing(relay: Relay, text: str):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = (503, {"Retry-After": text})
    relay.accepted()
    relay.let(10)
    assert len(ids(relay)) == 2


@pytest.mark.parametrize("text", ["9" * 20, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_nobody_is_made_to_wait_for_more_than_a_day(relay: Relay, text: str):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = (503, {"Retry-After": text})
    relay.accepted()
    relay.let(DAY + 1)
    assert len(ids(relay)) == 2


def test_an_endpoint_that_asks_for_a_day_every_time_gets_it_and_loses_nothing(relay: Relay, caplog):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = (503, {"Retry-After": "86400"})
    relay.accepted()
    relay.let(10 * DAY)
    assert len(ids(relay)) == 10
    (failed,) = relay.failed()
    assert (failed["id"], failed["reason"], failed["attempts"]) == ("msg_cb-1_1", "http_503", 10)
    assert notifying.FAILED in [record.getMessage() for record in caplog.records]
    relay.let(5 * DAY)
    del relay.receiver.answers["/hook"]
    assert relay.ask("POST", REPLAY, delivery_id="msg_cb-1_1")[0] == 202
    relay.let(0)
    assert len(ids(relay)) == 11


@pytest.mark.parametrize("status", [100, 301, 302, 304, 307, 308, 400, 401, 404, 500])
def test_only_2xx_is_success_and_no_redirect_is_followed(relay: Relay, status: int):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = (status, {"Location": relay.receiver.url + "/elsewhere"})
    relay.accepted()
    relay.let(10)
    assert len(ids(relay)) == 2
    assert relay.receiver.at("/elsewhere") == []


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_success(relay: Relay, status: int):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = status
    relay.accepted()
    relay.let(DAY)
    assert len(ids(relay)) == 1


# -- gone ----------------------------------------------------------------------------------------


def test_an_endpoint_that_returns_410_receives_nothing_until_it_is_set_again(relay: Relay):
    relay.endpoint()
    relay.receiver.answers["/hook"] = 410
    relay.accepted("cb-1")
    relay.let(DAY)
    assert ids(relay) == ["msg_cb-1_1"]
    status, endpoint = relay.ask("GET", "endpoint")
    assert (status, endpoint["disabled_at"] is not None) == (200, True)
    relay.accepted("cb-2")
    relay.let(DAY)
    assert ids(relay) == ["msg_cb-1_1"]
    (failed,) = relay.failed()
    assert (failed["id"], failed["reason"], failed["attempts"]) == ("msg_cb-1_1", "http_410", 1)
    del relay.receiver.answers["/hook"]
    relay.endpoint()
    relay.accepted("cb-3")
    relay.let(0)
    assert ids(relay) == ["msg_cb-1_1", "msg_cb-3_1"]


def test_what_waits_for_an_endpoint_that_is_disabled_fails_and_can_be_replayed(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 500
    relay.accepted("cb-1")
    relay.let(0)
    relay.receiver.answers["/hook"] = 410
    relay.accepted("cb-2")
    relay.let(DAY)
    reasons = {each["id"]: each["reason"] for each in relay.failed()}
    assert reasons == {"msg_cb-1_1": "endpoint_disabled", "msg_cb-2_1": "http_410"}


def test_a_410_from_where_the_endpoint_was_does_not_disable_where_it_is(relay: Relay):
    relay.endpoint("/old", events=["callback.accepted"])

    def gone_and_moved(answer: BufferedIOBase) -> None:
        relay.endpoints.put(TENANT, f"{relay.receiver.url}/new", ["callback.accepted"])
        answer.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")

    relay.receiver.answers["/old"] = gone_and_moved
    relay.accepted("cb-1")
    relay.let(0)
    relay.accepted("cb-2")
    relay.let(0)
    assert ids(relay, "/old") == ["msg_cb-1_1"]
    assert ids(relay, "/new") == ["msg_cb-2_1"]


# -- dead letters --------------------------------------------------------------------------------


def test_a_dead_letter_is_listed_and_replayed_with_the_same_id_and_body(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 410
    relay.accepted()
    relay.let(0)
    (failed,) = relay.failed()
    assert failed == {
        "id": "msg_cb-1_1",
        "type": "callback.accepted",
        "callback_id": "cb-1",
        "sequence": 1,
        "status": "failed",
        "attempts": 1,
        "reason": "http_410",
        "created_at": to_text(relay.now),
        "failed_at": to_text(relay.now),
    }
    del relay.receiver.answers["/hook"]
    relay.endpoint(events=["callback.accepted"])
    status, again = relay.ask("POST", REPLAY, delivery_id="msg_cb-1_1")
    assert (status, again["status"], again["attempts"]) == (202, "pending", 0)
    assert relay.failed() == []
    relay.let(0)
    assert len(ids(relay)) == 2
    assert len({(each.headers["webhook-id"], each.body) for each in relay.receiver.received}) == 1
    assert relay.ask("POST", REPLAY, delivery_id="msg_cb-1_1")[0] == 404


def test_a_replayed_delivery_has_all_its_attempts_before_it(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 410
    relay.accepted()
    relay.let(0)
    relay.receiver.answers["/hook"] = 500
    relay.endpoint(events=["callback.accepted"])
    relay.ask("POST", REPLAY, delivery_id="msg_cb-1_1")
    relay.let(4 * DAY)
    assert len(ids(relay)) == 1 + 10
    assert [each["attempts"] for each in relay.failed()] == [10]


def test_a_dead_letter_logs_what_the_alarm_listens_for(relay: Relay, caplog):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 410
    relay.accepted()
    relay.let(0)
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert told == [notifying.FAILED]


@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError"])
def test_a_dead_letter_that_could_not_be_written_is_written_later(relay: Relay, code: str):
    """DynamoDB cancels a transaction also for what is nobody else's turn."""
    relay.endpoint(events=["callback.accepted"])
    relay.accepted()
    relay.publish()
    relay.receiver.answers["/hook"] = 410
    reasons = {"Error": {"Code": "x"}, "CancellationReasons": [{"Code": code}, {"Code": "None"}]}
    canceled = relay.world._dynamodb.exceptions.TransactionCanceledException(reasons, "x")
    reach, raised = relay.world.faults.reach, []

    def cancel_once(point: str) -> None:
        if point == "before dynamodb.transact_write_items" and not raised:
            raised.append(point)
            raise canceled
        reach(point)

    relay.world.faults.reach = cancel_once  # type: ignore[method-assign]
    relay.let(DAY)
    del relay.world.faults.reach  # type: ignore[method-assign]
    assert raised
    assert [letter["id"] for letter in relay.failed()] == ["msg_cb-1_1"]
    assert relay.queue.messages == []


def test_dead_letters_come_in_pages_and_are_forgotten_after_a_week(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    for number in range(5):
        relay.receiver.answers["/hook"] = 410
        relay.accepted(f"cb-{number}")
        relay.let(1)
        relay.endpoint(events=["callback.accepted"])
    seen, cursor = [], None
    while cursor or not seen:
        page = relay.world.invoke(
            "WebhookApi",
            {
                "routeKey": "GET /voice/webhook/failed",
                "headers": {},
                "requestContext": caller(),
                "queryStringParameters": {"limit": "2", **({"cursor": cursor} if cursor else {})},
            },
        )[0]
        body = json.loads(page["body"])
        seen += [each["callback_id"] for each in body["failed"]]
        cursor = body["next_cursor"]
    assert seen == [f"cb-{number}" for number in (4, 3, 2, 1, 0)]
    relay.let(7 * DAY + 10)
    assert relay.failed() == []
    assert relay.ask("POST", REPLAY, delivery_id="msg_cb-1_1")[0] == 404


# -- crashes -------------------------------------------------------------------------------------

WORKER = [
    (f"{when} {what}", nth)
    for what, times in (
        ("dynamodb.get_item", 1),
        ("dynamodb.batch_get_item", 1),
        ("dynamodb.put_item", 2),
        ("sqs.send_message", 1),
    )
    for when in ("before", "after")
    for nth in range(1, times + 1)
]


@pytest.mark.parametrize(("point", "nth"), WORKER)
@pytest.mark.parametrize("answer", [204, 500])
def test_a_worker_that_dies_mid_delivery_loses_nothing_and_keeps_the_id(
    relay: Relay, point: str, nth: int, answer: int
):
    secret = relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = answer
    relay.accepted()
    relay.publish()
    relay.world.faults.arm(point, nth)
    relay.let(1)
    reaches = "send_message" not in point or answer == 500
    assert (relay.world.faults.killed == [point]) is reaches
    relay.world.faults.clear()
    del relay.receiver.answers["/hook"]
    relay.let(DAY)
    received = relay.receiver.at("/hook")
    assert 1 <= len(received) <= 3
    assert {each.headers["webhook-id"] for each in received} == {"msg_cb-1_1"}
    assert verified(received[-1], secret)["data"]["sequence"] == 1
    assert relay.queue.messages == []
    assert relay.failed() == []


PUBLISHER = [
    (f"{when} {what}", nth)
    for what, times in (
        ("dynamodb.batch_get_item", 2),
        ("dynamodb.batch_write_item", 1),
        ("sqs.send_message_batch", 1),
        ("events.put_events", 2),
    )
    for when in ("before", "after")
    for nth in range(1, times + 1)
]


@pytest.mark.parametrize(("point", "nth"), PUBLISHER)
def test_a_publisher_that_dies_publishes_every_event_under_the_same_id(
    relay: Relay, point: str, nth: int
):
    relay.endpoint()
    relay.accepted()
    relay.canceled("cb-1")
    relay.world.faults.arm(point, nth)
    relay.publish()
    assert relay.world.faults.killed == [point]
    relay.world.faults.clear()
    relay.let(DAY)
    expected = [f"msg_cb-1_{sequence}" for sequence in range(1, 5)]
    assert sorted(ids(relay)) == expected
    assert sorted({json.loads(e["Detail"])["id"] for e in relay.bus.published}) == expected


def test_a_bus_for_callbacks_carries_no_event_of_a_leg(relay: Relay):
    relay.endpoint()
    (publishing,) = [
        function.module
        for function in relay.world.functions
        if function.definition.logical_id == "PublishEvents"
    ]
    bus = EventBus(relay.bus, "bus", only_callbacks=True)  # type: ignore[arg-type]
    with mock.patch.object(publishing, "publisher", replace(publishing.publisher, bus=bus)):
        relay.accepted()
        relay.canceled("cb-1")
        relay.let(0)
    assert len(ids(relay)) == 4
    kinds = [entry["DetailType"] for entry in relay.bus.published]
    assert kinds == ["callback.accepted", "callback.ended"]


def test_a_bus_that_does_not_take_an_event_gets_it_again(relay: Relay):
    relay.endpoint()
    relay.bus.refusals = ["ThrottlingException", "InternalFailure"]
    relay.accepted()
    relay.let(0)
    (entry,) = relay.bus.published
    assert (entry["Source"], entry["DetailType"]) == ("voice-callback", "callback.accepted")
    assert ids(relay) == ["msg_cb-1_1"]


def test_what_was_delivered_is_not_delivered_again_when_the_stream_tells_of_it_again(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.accepted()
    told = list(relay.writes)
    relay.let(0)
    relay.writes = told
    relay.let(DAY)
    assert ids(relay) == ["msg_cb-1_1"]


def test_the_same_message_twice_at_once_is_sent_once(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.accepted()
    relay.publish()
    body = relay.queue.take()
    send = relay.world.functions.find("local-notify-client").module.sender
    post = send.post

    def while_another_has_it(*given):
        send.post = post
        relay.notify(body)
        return post(*given)

    send.post = while_another_has_it
    relay.notify(body)
    relay.let(DAY)
    assert len(ids(relay)) == 1
    assert relay.queue.messages == []


def test_a_worker_that_loses_to_one_that_dies_leaves_a_message_behind(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.accepted()
    relay.publish()
    body = relay.queue.take()
    assert body is not None
    store = relay.world.functions.find("local-notify-client").module.deliveries
    change = store.change

    def after_a_rival(*given):
        store.change = change
        relay.world.faults.arm("after dynamodb.put_item")
        message = {"messageId": "1", "body": body, "eventSource": "aws:sqs"}
        relay.world.invoke("NotifyClient", {"Records": [message]})
        return change(*given)

    store.change = after_a_rival
    relay.notify(body)
    assert relay.world.faults.killed == ["after dynamodb.put_item"]
    assert ids(relay) == []
    relay.let(DAY)
    assert ids(relay) == ["msg_cb-1_1"]


def test_a_delivery_is_stored_before_anybody_is_sent_to_look_at_it(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    send, found = relay.queue.send_message, []

    def looked_at_once(**message):
        found.append(relay.deliveries.find(**json.loads(message["MessageBody"])))
        send(**message)

    relay.queue.send_message = looked_at_once
    relay.accepted()
    relay.publish()
    assert [each and each.message_id for each in found] == ["msg_cb-1_1"]


# -- the secret ----------------------------------------------------------------------------------


def test_a_rotated_secret_verifies_at_once_and_the_one_before_for_a_day(relay: Relay):
    old = relay.endpoint(events=["callback.accepted"])
    status, rotated = relay.ask("POST", "endpoint/rotate")
    new = rotated["secret"]
    assert (status, new != old, new.startswith("whsec_")) == (200, True, True)
    relay.accepted("cb-1")
    relay.let(DAY - 60)
    relay.accepted("cb-2")
    relay.let(120)
    relay.accepted("cb-3")
    relay.let(0)
    first, second, third = relay.receiver.at("/hook")
    for received in (first, second):
        assert len(received.headers["webhook-signature"].split(" ")) == 2
        assert verified(received, old) == verified(received, new)
    assert verified(third, new)["data"]["callback_id"] == "cb-3"
    with pytest.raises(WebhookVerificationError):
        verified(third, old)


def test_a_secret_in_use_survives_rotations_whose_answers_never_came(relay: Relay):
    """Nobody but the client knows which answer arrived."""
    secrets = [relay.endpoint(events=["callback.accepted"])]
    for _ in range(5):
        relay.let(60)
        status, rotated = relay.ask("POST", "endpoint/rotate")
        assert status == 200
        secrets.append(rotated["secret"])
    relay.accepted()
    relay.let(0)
    (received,) = relay.receiver.at("/hook")
    assert len(set(secrets)) == 6
    for secret in secrets:
        assert verified(received, secret)["data"]["callback_id"] == "cb-1"


def test_a_rotation_that_would_cost_a_secret_in_use_is_refused_until_it_would_not(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    for _ in range(5):
        assert relay.ask("POST", "endpoint/rotate")[0] == 200
        relay.let(3600)
    signing = relay.endpoints.get(TENANT).secrets(relay.now)
    status, refusal = relay.ask("POST", "endpoint/rotate")
    assert (status, refusal["code"]) == (429, "too_many_rotations")
    assert relay.endpoints.get(TENANT).secrets(relay.now) == signing
    wait = int(relay.answered["headers"]["Retry-After"])
    assert wait == 19 * 3600
    relay.let(wait)
    assert relay.ask("POST", "endpoint/rotate")[0] == 200
    assert len(relay.endpoints.get(TENANT).secrets(relay.now)) == 6


def test_an_endpoint_that_is_removed_and_put_again_has_one_secret_and_no_rotations(relay: Relay):
    old = relay.endpoint(events=["callback.accepted"])
    for _ in range(5):
        relay.ask("POST", "endpoint/rotate")
    relay.ask("DELETE", "endpoint")
    new = relay.endpoint(events=["callback.accepted"])
    assert relay.endpoints.get(TENANT).secrets(relay.now) == [new]
    assert new != old
    assert relay.ask("POST", "endpoint/rotate")[0] == 200


def test_an_endpoint_tells_until_when_the_secret_before_signs(relay: Relay):
    relay.endpoint()
    assert relay.ask("GET", "endpoint")[1]["previous_secret_until"] is None
    relay.ask("POST", "endpoint/rotate")
    relay.let(60)
    relay.ask("POST", "endpoint/rotate")
    until = to_text(relay.now + timedelta(hours=24))
    assert relay.ask("GET", "endpoint")[1]["previous_secret_until"] == until
    relay.let(DAY)
    assert relay.ask("GET", "endpoint")[1]["previous_secret_until"] is None


def test_a_secret_is_shown_when_it_is_made_and_never_again(relay: Relay):
    url = {"url": relay.receiver.url}
    status, made = relay.ask("PUT", "endpoint", url)
    assert status == 201
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", made["secret"])
    for method, body in (("PUT", url), ("GET", None)):
        status, shown = relay.ask(method, "endpoint", body)
        assert (status, "secret" in shown) == (200, False)
    assert relay.endpoint() == made["secret"]


@pytest.mark.parametrize("spoilt", ["webhook-id", "webhook-timestamp", "webhook-signature", "body"])
def test_any_change_of_a_delivery_breaks_its_signature(relay: Relay, spoilt: str):
    secret = relay.endpoint()
    relay.accepted()
    relay.let(0)
    (received,) = relay.receiver.received
    verified(received, secret)
    changed = {
        "webhook-id": "msg_another",
        "webhook-timestamp": str(sent_at(received) + 1),
        "webhook-signature": "v1,",
    }
    headers = received.headers | ({spoilt: changed[spoilt]} if spoilt in changed else {})
    body = received.body.replace(b"1", b"2", 1) if spoilt == "body" else received.body
    with pytest.raises(WebhookVerificationError):
        verified(type(received)(received.path, headers, body), secret)


# -- who is told what ----------------------------------------------------------------------------


def test_events_of_a_callback_are_numbered_without_gaps_and_tell_no_number(relay: Relay):
    relay.endpoint()
    relay.accepted()
    relay.dialed("cb-1")
    relay.change("cb-1", lambda callback: busy(callback, relay.now))
    relay.let(0)
    told = sorted(relay.told(), key=lambda event: event["data"]["sequence"])
    assert [(e["data"]["sequence"], e["type"]) for e in told] == [
        (1, "callback.accepted"),
        (2, "leg.dialing"),
        (3, "leg.queued"),
        (4, "leg.ended"),
    ]
    assert told[3]["data"]["leg"]["name"] == "A"
    assert told[3]["data"]["leg"]["outcome"] == "busy"
    for received in relay.receiver.received:
        assert len(received.body) < 20_000
        assert b"1000123" not in received.body
        assert b"1000125" not in received.body
    assert "1000123" not in json.dumps(relay.bus.published, default=str)


def busy(callback, now):
    event = transitions.LegEvent(
        LegStatus.ENDED, at=now, call_sid=SIDS[LegName.A], outcome=LegOutcome.BUSY
    )
    return transitions.record(callback, LegName.A, 1, event)


@pytest.mark.parametrize(
    ("selected", "told"),
    [
        (["callback.ended"], ["callback.ended"]),
        (["leg.*"], ["leg.ended", "leg.ended"]),
        (["leg.ringing"], []),
        (["leg.ended", "callback.accepted"], ["callback.accepted", "leg.ended", "leg.ended"]),
    ],
)
def test_an_endpoint_receives_selected_events_and_the_bus_all(relay: Relay, selected, told):
    relay.endpoint(events=selected)
    relay.accepted()
    relay.canceled("cb-1")
    relay.let(0)
    assert sorted(event["type"] for event in relay.told()) == told
    assert len(relay.bus.published) == 4


def test_a_callback_with_a_url_of_its_own_is_told_there_and_nowhere_else(relay: Relay):
    secret = relay.endpoint()
    own = Webhook(f"{relay.receiver.url}/own", ["callback.ended"])
    relay.accepted(webhook=own)
    relay.canceled("cb-1")
    relay.let(0)
    assert relay.receiver.at("/hook") == []
    (received,) = relay.receiver.at("/own")
    assert verified(received, secret)["type"] == "callback.ended"


def test_a_url_of_its_own_that_is_gone_disables_nothing_but_itself(relay: Relay):
    relay.endpoint()
    relay.receiver.answers["/own"] = 410
    relay.accepted(webhook=Webhook(f"{relay.receiver.url}/own", ["callback.accepted"]))
    relay.let(DAY)
    assert len(relay.receiver.at("/own")) == 1
    assert relay.ask("GET", "endpoint")[1]["disabled_at"] is None
    assert [each["reason"] for each in relay.failed()] == ["http_410"]


def test_without_an_endpoint_only_the_event_bus_receives_events(relay: Relay):
    relay.accepted()
    relay.let(0)
    assert relay.receiver.received == []
    assert relay.queue.sent == 0
    assert len(relay.bus.published) == 1


def test_what_is_still_to_be_delivered_when_the_endpoint_is_removed_fails(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 500
    relay.accepted()
    relay.let(0)
    assert relay.ask("DELETE", "endpoint") == (204, None)
    assert relay.ask("DELETE", "endpoint")[0] == 404
    relay.let(DAY)
    assert len(ids(relay)) == 1
    assert [each["reason"] for each in relay.failed()] == ["endpoint_removed"]


def test_a_sample_is_sent_whatever_is_selected(relay: Relay):
    assert relay.ask("POST", "endpoint/test")[0] == 404
    secret = relay.endpoint(events=["callback.ended"])
    status, sample = relay.ask("POST", "endpoint/test")
    relay.let(0)
    (received,) = relay.receiver.received
    assert (status, sample["id"]) == (202, received.headers["webhook-id"])
    assert verified(received, secret)["type"] == "webhook.test"


def test_another_tenants_dead_letter_is_404_and_stays_where_it_is(relay: Relay):
    relay.endpoint(events=["callback.accepted"])
    relay.receiver.answers["/hook"] = 410
    relay.accepted()
    relay.let(0)
    assert relay.ask("POST", REPLAY, tenant="other", delivery_id="msg_cb-1_1")[0] == 404
    assert relay.ask("GET", "endpoint", tenant="other")[0] == 404
    assert relay.failed("other") == []
    assert len(relay.failed()) == 1
