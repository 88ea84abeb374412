"""Schedules and queues invoke their functions, as EventBridge and Lambda would."""

import json
import time
from collections.abc import Callable
from typing import Any

from tests.local import demo
from tests.local.receiver import Receiver
from tests.local.stack import LocalStack
from tests.local.template import queue_url

DEADLINE_SECONDS = 15
QUEUE = queue_url("local-SettleQueue")


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def invisible(stack: LocalStack) -> str:
    """Messages that were taken and neither deleted nor given back yet."""
    name = "ApproximateNumberOfMessagesNotVisible"
    answer = stack.aws.sqs.get_queue_attributes(QueueUrl=QUEUE, AttributeNames=[name])
    return answer["Attributes"][name]


def finished_callback(stack: LocalStack) -> str:
    api = demo.Api(stack.url, stack.key)
    _, location, _ = api.create(demo.REQUEST)
    until(lambda: api.read(location)["status"] == "ended")
    api.close()
    return location.rpartition("/")[2]


def test_reconcile_runs_every_virtual_minute() -> None:
    with LocalStack(120, environ={}) as stack:
        until(lambda: stack.invocations().get("Reconcile", 0) >= 2)
        assert any("reconciled" in line.text for line in stack.logs)


def test_what_is_taken_from_the_queue_is_gone_and_what_fails_is_not() -> None:
    """An id that no callback has cannot be settled, so its message stays."""
    with LocalStack(1, environ={}) as stack:
        stack.aws.sqs.send_message(QueueUrl=QUEUE, MessageBody="no-such-callback")
        until(lambda: stack.invocations().get("SettleCallback", 0) == 1)
        until(lambda: invisible(stack) == "1")


def test_a_settling_that_waits_in_the_queue_wakes_the_workflow() -> None:
    with LocalStack(10, environ={}) as stack:
        callback_id = finished_callback(stack)
        stack.aws.sqs.send_message(QueueUrl=QUEUE, MessageBody=callback_id)
        until(lambda: stack.invocations().get("SettleCallback", 0) == 1)
        until(lambda: invisible(stack) == "0")


def test_a_write_that_its_function_failed_on_comes_again() -> None:
    with Receiver() as receiver, LocalStack(20, environ={}, receiver=receiver) as stack:
        endpoint = json.dumps({"url": receiver.url, "events": ["callback.accepted"]})
        answer = stack.functions.invoke("local-webhook-api", _put(endpoint))
        assert answer.error is None
        bus = stack.functions.find("local-publish-events").module.bus
        put, calls = bus.put, list[str]()

        def failing_twice(tenant: str, published: Any) -> None:
            calls.append(published[0].message_id)
            if len(calls) <= 2:
                raise OSError("the bus is out of order")
            put(tenant, published)

        bus.put = failing_twice
        finished_callback(stack)
        until(lambda: len(receiver.received) >= 1)
        until(lambda: calls[0] in calls[2:])


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
    """Ten minutes at 600 times the speed are a second."""
    with LocalStack(600, environ={}) as stack:
        began = time.monotonic()
        stack.aws.sqs.send_message(QueueUrl=QUEUE, MessageBody="no-such", DelaySeconds=600)
        until(lambda: stack.invocations().get("SettleCallback", 0) == 1)
        assert time.monotonic() - began > 0.9
