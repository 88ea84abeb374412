"""Schedules and queues invoke their functions, as EventBridge and Lambda would."""

import time
from collections.abc import Callable

from tests.local import demo
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
