"""What invokes functions without anybody asking: schedules, queues with messages in them, and
writes of tables with a stream."""

import concurrent.futures
import contextlib
import json
import queue
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from unittest import mock

from moto.core.utils import unix_time_millis
from moto.events.models import EventPattern
from moto.sqs.models import Message

from tests.local.aws import EmbeddedAws
from tests.local.engine import Clock
from tests.local.functions import Functions
from tests.local.template import ACCOUNT, REGION, QueueSource, Schedule, StreamSource, Template

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# Real seconds between two looks into a queue. Lambda polls all the time.
_POLL_SECONDS = 0.1
_STOP_SECONDS = 10.0
# Lambda runs as many as it is allowed to; this machine has few processors.
_MOST_AT_ONCE = 8
# Virtual seconds before a batch of writes is tried again; Lambda's own wait grows.
_RETRY_SECONDS = 1.0


@contextlib.contextmanager
def running(
    template: Template, functions: Functions, aws: EmbeddedAws, clock: Clock
) -> Iterator[None]:
    """Every schedule, queue and stream of the template, while the block lasts. Schedules and the
    delays of messages run in virtual time."""
    stopping = threading.Event()

    def delay(self: Message, delay_seconds: float) -> None:
        self.delayed_until = unix_time_millis() + 1000 * float(delay_seconds) / clock.speed

    def every(seconds: float, work: Callable[[], None]) -> None:
        while not stopping.wait(seconds):
            work()

    works: list[tuple[float, Callable[[], None]]] = [
        (s.seconds / clock.speed, _Tick(s, functions, clock)) for s in template.schedules
    ]
    polls = [_Poll(q, functions, aws.sqs) for q in template.queue_sources]
    works += [(_POLL_SECONDS, poll) for poll in polls]
    streams = _Streams(template.stream_sources, functions, aws, clock, stopping)
    threads = [threading.Thread(target=every, args=work, daemon=True) for work in works]
    threads.append(threading.Thread(target=streams.run, daemon=True))
    with mock.patch.object(Message, "delay", delay):
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stopping.set()
            for thread in threads:
                thread.join(_STOP_SECONDS)
            for poll in polls:
                poll.close()


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
    """A look into a queue: what the function takes is deleted, the rest shows up again."""

    def __init__(self, source: QueueSource, functions: Functions, sqs: "SQSClient") -> None:
        self._source = source
        self._functions = functions
        self._sqs = sqs
        at_once = min(source.concurrency, _MOST_AT_ONCE)
        self._free = threading.Semaphore(at_once)
        self._workers = concurrent.futures.ThreadPoolExecutor(at_once)

    def __call__(self) -> None:
        """Take all that is there, unless as many invocations are running as may."""
        while self._free.acquire(blocking=False):
            answer = self._sqs.receive_message(
                QueueUrl=self._source.queue_url,
                MaxNumberOfMessages=min(10, self._source.batch_size),
            )
            messages = answer.get("Messages", [])
            if not messages:
                self._free.release()
                return
            self._workers.submit(self._invoke, messages)

    def close(self) -> None:
        """Once nobody looks any more: wait for what is running."""
        self._workers.shutdown()

    def _invoke(self, messages: list[Any]) -> None:
        try:
            self._deliver(messages)
        finally:
            self._free.release()

    def _deliver(self, messages: list[Any]) -> None:
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


class _Streams:
    """Writes of tables in their order; from the first that a function fails on they come again."""

    def __init__(
        self,
        sources: tuple[StreamSource, ...],
        functions: Functions,
        aws: EmbeddedAws,
        clock: Clock,
        stopping: threading.Event,
    ) -> None:
        self._sources = [
            (source, [EventPattern(None, pattern) for pattern in source.patterns])
            for source in sources
        ]
        self._functions = functions
        self._writes = aws.writes
        self._clock = clock
        self._stopping = stopping

    def run(self) -> None:
        while not self._stopping.wait(_POLL_SECONDS):
            written = self._taken()
            for source, patterns in self._sources:
                records = [
                    record
                    for table, record in written
                    if table == source.table
                    and (not patterns or any(p.matches_event(record) for p in patterns))
                ]
                while records:
                    count = self._invoked(source, records[: source.batch_size])
                    records = records[count:]
                    if not count and self._stopping.wait(_RETRY_SECONDS / self._clock.speed):
                        return

    def _taken(self) -> list[tuple[str, dict[str, Any]]]:
        """All that was written meanwhile."""
        written = []
        with contextlib.suppress(queue.Empty):
            while True:
                written.append(self._writes.get_nowait())
        return written

    def _invoked(self, source: StreamSource, records: list[dict[str, Any]]) -> int:
        """How many of the records are done with."""
        event = json.dumps({"Records": records}).encode()
        invocation = self._functions.invoke(source.function, event)
        if invocation.error:
            print(f"{source.function} failed:\n{invocation.trace}", end="", file=sys.stderr)
            return 0
        failures = (json.loads(invocation.payload) or {}).get("batchItemFailures", [])
        failed = {failure["itemIdentifier"] for failure in failures}
        numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
        return next((at for at, number in enumerate(numbers) if number in failed), len(numbers))
