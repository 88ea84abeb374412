"""Schedules and queues invoke their functions, as EventBridge and Lambda would."""

import json
import threading
from typing import Any

import pytest

from tests.local import demo
from tests.local.clock import Clock
from tests.local.receiver import Receiver
from tests.local.stack import LocalStack
from tests.local.template import queue_url

QUEUE = queue_url("local-SettleQueue")


def invisible(stack: LocalStack) -> str:
    """Messages that were taken and neither deleted nor given back yet."""
    name = "ApproximateNumberOfMessagesNotVisible"
    answer = stack.aws.sqs.get_queue_attributes(QueueUrl=QUEUE, AttributeNames=[name])
    return answer["Attributes"][name]


def finished_callback(stack: LocalStack) -> str:
    api = demo.Api(stack.url, stack.key)
    _, location, _ = api.create(demo.REQUEST)
    stack.until(lambda: api.read(location)["status"] == "ended")
    api.close()
    return location.rpartition("/")[2]


def test_reconcile_runs_every_virtual_minute() -> None:
    with LocalStack(clock=Clock(stepped=True), environ={}) as stack:
        stack.clock.until(lambda: stack.invocations().get("Reconcile", 0) >= 2, within=600)
        assert any("reconciled" in line.text for line in stack.logs)


def test_what_is_taken_from_the_queue_is_gone_and_what_fails_is_not() -> None:
    """An id that no callback has cannot be settled, so its message stays."""
    with LocalStack(clock=Clock(stepped=True), environ={}) as stack:
        stack.aws.sqs.send_message(QueueUrl=QUEUE, MessageBody="no-such-callback")
        stack.clock.until(lambda: stack.invocations().get("SettleCallback", 0) == 1, within=600)
        stack.clock.until(lambda: invisible(stack) == "1", within=600)


def test_a_settling_that_waits_in_the_queue_wakes_the_workflow() -> None:
    with LocalStack(clock=Clock(stepped=True), environ={}) as stack:
        callback_id = finished_callback(stack)
        stack.aws.sqs.send_message(QueueUrl=QUEUE, MessageBody=callback_id)
        stack.clock.until(lambda: stack.invocations().get("SettleCallback", 0) == 1, within=600)
        stack.clock.until(lambda: invisible(stack) == "0", within=600)


def test_a_write_that_its_function_failed_on_comes_again() -> None:
    with (
        Receiver() as receiver,
        LocalStack(clock=Clock(stepped=True), environ={}, receiver=receiver) as stack,
    ):
        endpoint = json.dumps({"url": receiver.url, "events": ["callback.accepted"]})
        answer = stack.functions.invoke("local-webhook-api", _put(endpoint))
        assert answer.error is None
        bus = stack.functions.find("local-publish-events").module.bus
        put_all, calls = bus.put_all, list[str]()

        def failing_twice(changes: Any) -> int:
            calls.append(changes[0][2][0].message_id)
            if len(calls) <= 2:
                raise OSError("the bus is out of order")
            return int(put_all(changes))

        bus.put_all = failing_twice
        finished_callback(stack)
        stack.clock.until(lambda: len(receiver.received) >= 1, within=600)
        stack.clock.until(lambda: calls[0] in calls[2:], within=600)


def test_an_error_of_the_queue_itself_ends_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest turns an error that ends a thread into a failure of the test."""
    errors: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda ended: errors.append(ended.exc_value))

    def break_down(*_: Any) -> None:
        raise LookupError("the queue is out of order")

    with LocalStack(clock=Clock(stepped=True), environ={}) as stack:
        monkeypatch.setattr(stack.functions, "invoke", break_down)
        stack.aws.sqs.send_message(QueueUrl=QUEUE, MessageBody="no-such-callback")
        stack.clock.until(lambda: errors, within=30)
    assert isinstance(errors[0], LookupError)


def _put(body: str) -> bytes:
    lambda_context = {"tenant": "demo", "key_id": "key_1", "scopes": "callbacks:write"}
    event = {
        "routeKey": "PUT /voice/webhook/endpoint",
        "headers": {},
        "requestContext": {"authorizer": {"lambda": lambda_context}},
        "body": body,
    }
    return json.dumps(event).encode()


def test_a_message_waits_in_virtual_time() -> None:
    with LocalStack(clock=Clock(stepped=True), environ={}) as stack:
        began = stack.clock.seconds()
        stack.aws.sqs.send_message(QueueUrl=QUEUE, MessageBody="no-such", DelaySeconds=600)
        stack.clock.until(lambda: stack.invocations().get("SettleCallback", 0) == 1, within=900)
        assert 600 <= stack.clock.seconds() - began < 601


def test_a_message_whose_function_fails_comes_again_after_its_visibility_timeout() -> None:
    with LocalStack(clock=Clock(stepped=True), environ={}) as stack:
        began = stack.clock.seconds()
        stack.aws.sqs.send_message(QueueUrl=QUEUE, MessageBody="no-such")
        stack.clock.until(lambda: stack.invocations().get("SettleCallback", 0) == 2, within=900)
        (source,) = (q for q in stack.template.queue_sources if q.queue_url == QUEUE)
        assert source.visibility <= stack.clock.seconds() - began < source.visibility + 1
