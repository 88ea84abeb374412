"""The triggers of functions: schedules, queues with messages, and tables with a stream."""

import contextlib
import json
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

from moto.events.models import EventPattern
from moto.sqs import models as sqs_models
from moto.sqs.models import Message, Queue, sqs_backends

from tests.local.aws import EmbeddedAws
from tests.local.clock import Clock
from tests.local.events import matches
from tests.local.functions import Functions
from tests.local.template import ACCOUNT, REGION, QueueSource, Schedule, StreamSource, Template

# Lambda's concurrency has a higher limit; this machine has few processors.
_MOST_AT_ONCE = 8
# Lambda polls a shard four times a second (AWS Lambda Developer Guide, "Using AWS Lambda with
# Amazon DynamoDB"); writes in between form one batch.
_STREAM_SECONDS = 0.25
# Virtual seconds before a batch of writes is retried; Lambda's own wait grows.
_RETRY_SECONDS = 1.0
# Virtual seconds added to a delay, because SQS counts milliseconds.
_ONE_MILLISECOND = 0.001


@contextlib.contextmanager
def run_triggers(
    template: Template, functions: Functions, aws: EmbeddedAws, clock: Clock
) -> Iterator[None]:
    """Run every schedule, queue and stream of the template inside the block, in virtual time."""
    with contextlib.ExitStack() as stack:
        workers = stack.enter_context(_Workers(clock))
        for schedule in template.schedules:
            stack.enter_context(contextlib.closing(_Ticks(schedule, functions, clock, workers)))
        stack.enter_context(
            mock.patch.object(sqs_models, "unix_time_millis", partial(_milliseconds, clock))
        )
        stack.enter_context(
            _watch_queues(
                {q.queue_url.rpartition("/")[2]: q for q in template.queue_sources},
                functions,
                clock,
                workers,
            )
        )
        streams = _Streams(template.stream_sources, functions, clock, workers)
        aws.on_write = streams.add
        stack.callback(setattr, aws, "on_write", None)
        yield


def _milliseconds(clock: Clock) -> float:
    return clock.now().timestamp() * 1000


class _Workers:
    """Threads for background work. After the block no new work starts, and none is in progress.
    An exception in one ends its thread, and so reaches pytest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_closed = True
        for thread in self._threads:
            thread.join()

    def start(self, what: str, task: Callable[..., None], *arguments: Any) -> None:
        """Run `task` on a thread, as work of its own from now on."""
        with self._lock:
            if self._is_closed:
                return
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._threads.append(self._clock.start_thread(what, task, *arguments))


class _Ticks:
    """The invocations of a schedule. A failed one is not retried: the next one repeats its work."""

    def __init__(
        self, schedule: Schedule, functions: Functions, clock: Clock, workers: _Workers
    ) -> None:
        self._schedule = schedule
        self._functions = functions
        self._clock = clock
        self._workers = workers
        self._timer = clock.call_later(schedule.seconds, self._tick)

    def close(self) -> None:
        self._timer.cancel()

    def _tick(self) -> None:
        self._timer = self._clock.call_later(self._schedule.seconds, self._tick)
        self._workers.start(f"the schedule {self._schedule.logical_id}", self._invoke)

    def _invoke(self) -> None:
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


@contextlib.contextmanager
def _watch_queues(
    sources: dict[str, QueueSource], functions: Functions, clock: Clock, workers: _Workers
) -> Iterator[None]:
    """Invoke the functions of these queues with their messages inside the block. `sources` maps a
    queue's name to its source."""
    watched = {
        name: _Messages(name, source, functions, clock, workers) for name, source in sources.items()
    }
    add = Queue.add_message

    def add_and_poll(self: Queue, message: Message) -> None:
        if self.name not in watched:
            add(self, message)
            return
        with watched[self.name].lock:  # moto deletes by replacing the list of messages
            add(self, message)
        watched[self.name].poll_after(message.delayed_until - _milliseconds(clock))

    with mock.patch.object(Queue, "add_message", add_and_poll):
        for messages in watched.values():
            messages.poll()
        yield


class _Messages:
    """A queue. Messages that the function handles are deleted. The others become visible again."""

    def __init__(
        self,
        name: str,
        source: QueueSource,
        functions: Functions,
        clock: Clock,
        workers: _Workers,
    ) -> None:
        self._name = name
        self._source = source
        self._functions = functions
        self._clock = clock
        self._workers = workers
        self._free = min(source.concurrency, _MOST_AT_ONCE)
        self.lock = threading.RLock()

    def poll_after(self, milliseconds: float) -> None:
        if milliseconds <= 0:
            self.poll()
        else:
            self._clock.call_later(milliseconds / 1000 + _ONE_MILLISECOND, self.poll)

    def poll(self) -> None:
        """Receive all visible messages, up to the limit of concurrent invocations."""
        with self.lock:
            while self._free and (messages := self._take()):
                self._free -= 1
                self._workers.start(f"messages of {self._name}", self._handle, messages)

    def _take(self) -> list[Message]:
        backend = sqs_backends[ACCOUNT][REGION]
        visibility = self._source.visibility
        batch_size = min(10, self._source.batch_size)
        messages: list[Message] = backend.receive_message(self._name, batch_size, 0, visibility)
        if messages:
            self._clock.call_later(visibility + _ONE_MILLISECOND, self.poll)
        return messages

    def _handle(self, messages: list[Message]) -> None:
        try:
            self._deliver(messages)
        finally:
            with self.lock:
                self._free += 1
                self.poll()

    def _deliver(self, messages: list[Message]) -> None:
        event = {"Records": [self._record(message) for message in messages]}
        invocation = self._functions.invoke(self._source.function, json.dumps(event).encode())
        if invocation.error:
            print(f"{self._source.function} failed:\n{invocation.trace}", end="", file=sys.stderr)
            return
        failures = (json.loads(invocation.payload) or {}).get("batchItemFailures", [])
        failed = {failure["itemIdentifier"] for failure in failures}
        with self.lock:
            for message in messages:
                if message.id not in failed:
                    sqs_backends[ACCOUNT][REGION].delete_message(
                        self._name, str(message.receipt_handle)
                    )

    def _record(self, message: Message) -> dict[str, Any]:
        return {
            "messageId": message.id,
            "receiptHandle": message.receipt_handle,
            "body": message.body,
            "attributes": {},
            "messageAttributes": {},
            "md5OfBody": message.body_md5,
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self._name}",
            "awsRegion": REGION,
        }


class _Streams:
    """Delivers the writes of tables to each source in order."""

    def __init__(
        self,
        sources: tuple[StreamSource, ...],
        functions: Functions,
        clock: Clock,
        workers: _Workers,
    ) -> None:
        self._shards = [_Shard(source, functions, clock, workers) for source in sources]

    def add(self, table: str, record: dict[str, Any]) -> None:
        for shard in self._shards:
            shard.add(table, record)


class _Shard:
    """The writes for one source. If its function fails on a record, that record and all later ones
    are delivered again."""

    def __init__(
        self, source: StreamSource, functions: Functions, clock: Clock, workers: _Workers
    ) -> None:
        self._source = source
        self._patterns = [EventPattern(None, pattern) for pattern in source.patterns]
        self._functions = functions
        self._clock = clock
        self._workers = workers
        self._records: deque[dict[str, Any]] = deque()
        self._is_running = False
        self._lock = threading.Lock()

    def add(self, table: str, record: dict[str, Any]) -> None:
        if table != self._source.table:
            return
        if self._patterns and not any(matches(p, record) for p in self._patterns):
            return
        with self._lock:
            self._records.append(record)
            if self._is_running:
                return
            self._is_running = True
        self._clock.call_later(_STREAM_SECONDS, self._start)

    def _start(self) -> None:
        self._workers.start(f"writes for {self._source.function}", self._run)

    def _run(self) -> None:
        while True:
            with self._lock:
                records = list(self._records)[: self._source.batch_size]
                if not records:
                    self._is_running = False
                    return
            done = self._deliver(records)
            with self._lock:
                for _ in range(done):
                    self._records.popleft()
            if not done and not self._clock.pause(_RETRY_SECONDS):
                return  # the stack is closing

    def _deliver(self, records: list[dict[str, Any]]) -> int:
        """Invoke the function with the records. Returns how many of them it has handled."""
        event = json.dumps({"Records": records}).encode()
        invocation = self._functions.invoke(self._source.function, event)
        if invocation.error:
            print(f"{self._source.function} failed:\n{invocation.trace}", end="", file=sys.stderr)
            return 0
        failures = (json.loads(invocation.payload) or {}).get("batchItemFailures", [])
        failed = {failure["itemIdentifier"] for failure in failures}
        numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
        return next((at for at, number in enumerate(numbers) if number in failed), len(numbers))
