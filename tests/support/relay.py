"""Delivery of events to clients in virtual time, with a simulated stream, queue, bus and schedule.

The handlers are the real ones, the rows are in moto's DynamoDB, and a webhook goes over real HTTPS
to a receiver on this machine. A message waits for its DelaySeconds. It becomes visible again after
its visibility timeout if its function has died.
"""

import heapq
import itertools
import json
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import standardwebhooks.webhooks
from standardwebhooks import Webhook

from callback.lifecycle import transitions
from callback.lifecycle.models import Callback, LegName, LegStatus
from callback.lifecycle.transitions import LegEvent
from callback.storage.intake import IntakeStore
from callback.storage.table import Table
from callback.webhooks.deliveries import DeliveryStore
from callback.webhooks.endpoints import EndpointStore
from tests.local import outgoing
from tests.local.receiver import Received, Receiver
from tests.support import build
from tests.support.faults import Faulty
from tests.support.world import TABLE, TENANT, World, caller

VISIBILITY_SECONDS = 240.0  # template.yaml: DeliveryQueue's VisibilityTimeout
MINUTE = 60.0  # template.yaml: ResumeDeliveriesRule
_SENDERS = ("PublishEvents", "NotifyClient", "WebhookApi", "ResumeDeliveries")


class Queue:
    """An SQS client: messages by the moment at which they become visible."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._numbers = itertools.count(1)
        self.messages: list[tuple[float, int, str]] = []
        self.sent = 0
        self.requests = 0
        # Coming batches with an entry that is refused, by its place.
        self.refusals: list[int] = []

    def send_message(
        self,
        *,
        QueueUrl: str,  # noqa: ARG002, N803
        MessageBody: str,  # noqa: N803
        DelaySeconds: int,  # noqa: N803
        MessageGroupId: str,  # noqa: ARG002, N803
    ) -> None:
        assert 0 <= DelaySeconds <= 900
        self.sent += 1
        self.requests += 1
        self.put(MessageBody, DelaySeconds)

    def send_message_batch(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        Entries: list[dict[str, Any]],  # noqa: N803
    ) -> dict[str, Any]:
        assert 1 <= len(Entries) <= 10
        refused = self.refusals.pop() if self.refusals else None
        self.requests += 1
        for number, entry in enumerate(Entries):
            if number != refused:
                message = {name: value for name, value in entry.items() if name != "Id"}
                self.send_message(QueueUrl=QueueUrl, **message)
                self.requests -= 1
        return {"Failed": [{"Id": Entries[refused]["Id"]}] if refused is not None else []}

    def put(self, body: str, seconds: float) -> None:
        heapq.heappush(self.messages, (self._now() + seconds, next(self._numbers), body))

    def take(self) -> str | None:
        """A message that is visible now."""
        if not self.messages or self.messages[0][0] > self._now():
            return None
        return heapq.heappop(self.messages)[2]


class Bus:
    """An EventBridge client. `refusals` are the coming error answers, by entry."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []
        self.refusals: list[str] = []
        self.requests = 0

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """A refusal concerns the first entry."""
        assert 1 <= len(Entries) <= 10
        self.requests += 1
        refused = [{"ErrorCode": self.refusals.pop()}] if self.refusals else []
        taken = Entries[len(refused) :]
        self.published += taken
        results = [*refused, *({"EventId": "1"} for _ in taken)]
        return {"FailedEntryCount": len(refused), "Entries": results}


class Relay:
    """One scenario: a test changes the rows of callbacks, and the relay delivers their events."""

    def __init__(self, world: World, receiver: Receiver) -> None:
        self.world = world
        self.receiver = receiver
        world.reset(streaming=True)
        self.writes: list[dict[str, Any]] = []
        self.answered: dict[str, Any] = {}  # what the client was answered last
        self.kept: list[dict[str, Any]] = []  # the writes of the rows of webhooks
        self.hops = 0  # the longest chain of messages
        self.looks = 0  # invocations of notify_client
        self.resumed = 0  # invocations of resume_deliveries
        self._ticked = world.clock.seconds() // MINUTE
        self.queue = Queue(world.clock.seconds)
        self.bus = Bus()
        self.store = IntakeStore(Table(world._dynamodb, TABLE))
        self.endpoints = EndpointStore(Table(world._dynamodb, TABLE))
        self.deliveries = DeliveryStore(Table(world._dynamodb, TABLE))
        sqs = Faulty(self.queue, "sqs", world.faults)
        for function in world.functions:
            module = function.module
            if function.definition.logical_id in _SENDERS:
                module.queue._client = lambda: sqs
            if hasattr(module, "publisher"):
                module.publisher.remembered.clear()
            if hasattr(module, "bus"):
                module.bus._client = Faulty(self.bus, "events", world.faults)
        outgoing.stay_here(world.functions, receiver)

    def wrote(self, table: str, record: dict[str, Any]) -> None:
        """Receive every write, as `tables.streamed` reports it."""
        if record["dynamodb"]["Keys"]["pk"]["S"].startswith("WEBHOOK#"):
            self.kept.append(record)
        is_callback = record["dynamodb"]["Keys"]["sk"] == {"S": "CALLBACK"}
        if table == TABLE and record["eventName"] != "REMOVE" and is_callback:
            self.writes.append(record)

    # -- the client ------------------------------------------------------------------------------

    def ask(
        self, method: str, path: str, body: Any = None, tenant: str = TENANT, **parameters: str
    ) -> tuple[int, Any]:
        """(status, body) of the answer to a client; `path` is the route's."""
        answer, error = self.world.invoke(
            "WebhookApi",
            {
                "routeKey": f"{method} /voice/webhook/{path}",
                "headers": {},
                "requestContext": caller(tenant),
                "pathParameters": parameters or None,
                "body": json.dumps(body) if body is not None else None,
            },
        )
        assert error is None, answer
        self.answered = answer
        text = answer.get("body")
        return answer["statusCode"], json.loads(text) if text else None

    def endpoint(self, path: str = "/hook", tenant: str = TENANT, **fields: Any) -> str:
        """Set the tenant's endpoint. Returns its secret."""
        body = {"url": self.receiver.url + path, **fields}
        status, answer = self.ask("PUT", "endpoint", body, tenant)
        assert status in (200, 201), answer
        endpoint = self.endpoints.find(tenant)
        assert endpoint is not None
        return endpoint.secret

    def failed(self, tenant: str = TENANT) -> list[dict[str, Any]]:
        status, page = self.ask("GET", "failed", tenant=tenant)
        assert (status, page["next_cursor"]) == (200, None)
        return list(page["failed"])

    # -- what happens ----------------------------------------------------------------------------

    def accepted(self, callback_id: str = "cb-1", **fields: Any) -> str:
        """A callback was stored."""
        now = self.world.clock.now()
        given = {"tenant": TENANT, "created_at": now, "expires_at": now + timedelta(days=30)}
        made = build.callback(**{**given, "callback_id": callback_id, **fields})
        self.store.add(made)
        return callback_id

    def change(self, callback_id: str, change: Callable[[Callback], Callback | None]) -> None:
        _, allowed = self.store.change(callback_id, change)
        assert allowed

    def dialed(self, callback_id: str, name: LegName = LegName.A) -> None:
        """Its first leg is claimed, and taken by the carrier."""
        now = self.world.clock.now()
        self.change(callback_id, lambda c: transitions.claim(c, name, now))
        event = LegEvent(LegStatus.QUEUED, at=now, call_sid=build.SIDS[name])
        self.change(callback_id, lambda c: transitions.record(c, name, 1, event))

    def canceled(self, callback_id: str) -> None:
        """Before anybody was called: both legs and the callback end at once."""
        now = self.world.clock.now()
        self.change(callback_id, lambda c: transitions.cancel(c, self.now))
        self.change(callback_id, lambda c: transitions.close(c, None, now))

    # -- time ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run everything that is due now."""
        self.publish()
        while (body := self.queue.take()) is not None:
            self.notify(body)

    def publish(self) -> None:
        """Deliver the writes. If the function fails on one, it and all later ones are delivered
        again."""
        tries = 0
        while self.writes:
            tries += 1
            assert tries < 20, "the stream is stuck"
            answer, error = self.world.invoke("PublishEvents", {"Records": self.writes})
            failed = (
                {f["itemIdentifier"] for f in answer["batchItemFailures"]}
                if not error
                else {self.writes[0]["dynamodb"]["SequenceNumber"]}
            )
            numbers = [record["dynamodb"]["SequenceNumber"] for record in self.writes]
            done = next((at for at, n in enumerate(numbers) if n in failed), len(numbers))
            del self.writes[:done]

    def resume(self) -> None:
        """The function of the schedule. If it fails, the next minute's run does its work."""
        self.resumed += 1
        self.world.invoke("ResumeDeliveries", {})

    def notify(self, body: str) -> None:
        self.looks += 1
        self.hops = max(self.hops, json.loads(body).get("hops", 0))
        message = {"messageId": "1", "body": body, "eventSource": "aws:sqs"}
        result, error = self.world.invoke("NotifyClient", {"Records": [message]})
        if error or result["batchItemFailures"]:
            self.queue.put(body, VISIBILITY_SECONDS)

    def let(self, seconds: float) -> None:
        """Let time pass, from one visible message to the next, and from one minute in which
        the schedule's function finds something to the next."""
        self.run()
        end = self.world.clock.seconds() + seconds
        while (moment := min(self._next_message(), self._next_tick())) <= end:
            self._advance_to(moment)
            if self._next_tick() <= moment:
                self._ticked = moment // MINUTE
                self.resume()
            self.run()
        self._advance_to(end)
        self.run()

    def _next_message(self) -> float:
        return self.queue.messages[0][0] if self.queue.messages else math.inf

    def _next_tick(self) -> float:
        """The next full minute at which an entry of the index is due within a minute. Any other
        run would find nothing."""
        entries = [entry["due_at"] for entry in self.index() if "DELIVERY#" in entry["due_in"]]
        if not entries:
            return math.inf
        due = datetime.fromisoformat(min(entries)) - self.world.clock.now()
        first = self.world.clock.seconds() + max(0.0, due.total_seconds() - MINUTE)
        return MINUTE * max(math.ceil(first / MINUTE), self._ticked + 1)

    def index(self) -> list[dict[str, str]]:
        """The rows in the table's index, by their attributes of type S."""
        return [
            {name: value.value for name, value in item.attrs.items() if value.type == "S"}
            for items in self.world._moto_table().items.values()
            for item in items.values()
            if "due_in" in item.attrs
        ]

    def _advance_to(self, moment: float) -> None:
        self.world.carrier.advance(max(0.0, moment - self.world.clock.seconds()))

    @property
    def now(self) -> datetime:
        return self.world.clock.now()

    # -- what was received -----------------------------------------------------------------------

    def told(self, path: str = "/hook") -> list[dict[str, Any]]:
        """The payloads that the endpoint received, oldest first."""
        return [json.loads(each.body) for each in self.receiver.at(path)]


def sent_at(received: Received) -> int:
    """Virtual seconds since 1970."""
    return int(received.headers["webhook-timestamp"])


def verified(received: Received, secret: str) -> Any:
    """The payload, verified at the time of sending with the library that a client would use.

    Raises the library's WebhookVerificationError."""
    moment = datetime.fromtimestamp(sent_at(received), tz=build.NOON.tzinfo)

    class At(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return moment.astimezone(tz)

    with mock.patch.object(standardwebhooks.webhooks, "datetime", At):
        return Webhook(secret).verify(received.body.decode(), received.headers)
