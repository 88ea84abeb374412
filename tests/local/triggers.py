"""What invokes functions without anybody asking: schedules, and queues with messages in them."""

import contextlib
import json
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.local.engine import Clock
from tests.local.functions import Functions
from tests.local.template import ACCOUNT, REGION, QueueSource, Schedule, Template

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# Real seconds between two looks into a queue. Lambda polls all the time.
_POLL_SECONDS = 0.1
_STOP_SECONDS = 10.0


@contextlib.contextmanager
def running(
    template: Template, functions: Functions, sqs: "SQSClient", clock: Clock
) -> Iterator[None]:
    """Every schedule (in virtual time) and every queue of the template, while the block lasts."""
    stopping = threading.Event()

    def every(seconds: float, work: Callable[[], None]) -> None:
        while not stopping.wait(seconds):
            work()

    works: list[tuple[float, Callable[[], None]]] = [
        (s.seconds / clock.speed, _Tick(s, functions, clock)) for s in template.schedules
    ]
    works += [(_POLL_SECONDS, _Poll(q, functions, sqs)) for q in template.queue_sources]
    threads = [threading.Thread(target=every, args=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join(_STOP_SECONDS)


class _Tick:
    """One firing of a schedule. Nobody repeats a failed one: the next does it again."""

    def __init__(self, schedule: Schedule, functions: Functions, clock: Clock) -> None:
        self._schedule = schedule
        self._functions = functions
        self._clock = clock

    def __call__(self) -> None:
        rule = self._schedule.logical_id
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": ACCOUNT,
            "time": self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": REGION,
            "resources": [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{rule}"],
            "detail": {},
        }
        for target in self._schedule.targets:
            payload = target.input or json.dumps(event)
            invocation = self._functions.invoke(target.function, payload.encode())
            if invocation.error:
                print(f"{target.function} failed:\n{invocation.trace}", end="", file=sys.stderr)


class _Poll:
    """One look into a queue: what the function takes is deleted, the rest shows up again."""

    def __init__(self, source: QueueSource, functions: Functions, sqs: "SQSClient") -> None:
        self._source = source
        self._functions = functions
        self._sqs = sqs

    def __call__(self) -> None:
        answer = self._sqs.receive_message(
            QueueUrl=self._source.queue_url, MaxNumberOfMessages=min(10, self._source.batch_size)
        )
        messages = answer.get("Messages", [])
        if not messages:
            return
        event = {"Records": [self._record(message) for message in messages]}
        invocation = self._functions.invoke(self._source.function, json.dumps(event).encode())
        if invocation.error:
            print(f"{self._source.function} failed:\n{invocation.trace}", end="", file=sys.stderr)
            return
        failures = (json.loads(invocation.payload) or {}).get("batchItemFailures", [])
        failed = {failure["itemIdentifier"] for failure in failures}
        for message in messages:
            if message["MessageId"] not in failed:
                self._sqs.delete_message(
                    QueueUrl=self._source.queue_url, ReceiptHandle=message["ReceiptHandle"]
                )

    def _record(self, message: Any) -> dict[str, Any]:
        queue = self._source.queue_url.rpartition("/")[2]
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes", {}),
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}",
            "awsRegion": REGION,
        }
