"""The whole service in one place and in virtual time, with a way to kill it anywhere.

The real handlers on the real store (moto's DynamoDB in this process), the real state machine
played by `sequencer`, and the carrier simulator over HTTP on a stepped clock: nothing happens
unless a test triggers it.
"""

import contextlib
import copy
import functools
import json
import math
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import boto3
from moto import mock_aws
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table as MotoTable
from twilio.http.http_client import TwilioHttpClient

from callback import clock as service_clock
from callback.admission.admission import Admission
from callback.call_control import pacing
from callback.call_control.workflow import Workflow
from callback.carrier.credentials import Credentials
from callback.carrier.first_use import CarrierAtFirstUse
from callback.carrier.twilio.client import TwilioCarrier
from callback.storage.departures import Departures
from callback.storage.table import Table
from callback.tenancy import numbers, tenants
from callback.tenancy.pepper import Pepper
from callback.tenancy.policy_store import PolicyStore
from callback.triggers import queue as trigger_queue
from tests.local import aws, front, functions, logs, output_tap, tables, template
from tests.local.carrier import CarrierSimulator, Clock, Settings
from tests.local.carrier.calls import LIVE
from tests.local.carrier.faults import FaultRule
from tests.local.stack import GENEROUS
from tests.support.faults import Faults, Faulty, Killed
from tests.support.sequencer import Sequencer

PROJECT = Path(__file__).parents[2]
PATH = "/voice/call/callback"
ACCOUNT_SID, AUTH_TOKEN = "AC" + "0" * 32, "token-of-the-histories"
SIP_DOMAIN = "pbx.example"
TABLE = "local-CallbackTable"
FASTEST = 1000  # calls per second: a rate that delays nothing
SHORTEST_SLEEP = 0.05  # seconds; longer than `pacing.LEAD`
NEVER = datetime.max.replace(tzinfo=UTC)
TENANT = "tenant-of-the-histories"


def caller(tenant: str = TENANT) -> dict[str, Any]:
    """A request's context behind the gateway, where the authorizer has let the tenant in."""
    scopes = "callbacks:read callbacks:write"
    return {"authorizer": {"lambda": {"tenant": tenant, "key_id": "key_1", "scopes": scopes}}}


def without_rates(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without its RateLimit headers, which a repeated answer does not carry."""
    kept = {k: v for k, v in answer["headers"].items() if not k.startswith("RateLimit")}
    return {**answer, "headers": kept}


class KillableFunctions(functions.Functions):
    """A killed function returns nothing: its caller gets the error that AWS would return."""

    def invoke(self, name_or_arn: str, payload: bytes) -> functions.Invocation:
        try:
            return super().invoke(name_or_arn, payload)
        except Killed as killed:
            document = {"errorType": "Runtime.ExitError", "errorMessage": str(killed)}
            return functions.Invocation(json.dumps(document).encode(), "Unhandled")


class FixedCredentials:
    def get(self) -> Credentials:
        return Credentials(ACCOUNT_SID, AUTH_TOKEN)

    def refetch(self) -> None:
        return None


def _with_parts(values: Iterable[Any]) -> list[Any]:
    """The values, plus the carriers and the policy stores inside those among them."""
    found = list(values)
    found += [each.carrier for each in found if isinstance(each, CarrierAtFirstUse)]
    rules = [each for each in found if isinstance(each, Admission)]
    return [*found, *(each.policies for each in rules)]


@dataclass
class SettleQueue:
    """The SQS client of the settle queue: messages wait until `World.run` delivers them."""

    waiting: deque[str] = field(default_factory=deque)

    def send_message(self, *, QueueUrl: str, MessageBody: str, DelaySeconds: int) -> None:  # noqa: N803, ARG002
        output_tap.report_text("the settle queue", MessageBody)
        self.waiting.append(MessageBody)


@dataclass
class DelayQueue:
    """The SQS client of a queue: `World.run` delivers a message to its function after its delay."""

    clock: Clock
    waiting: list[tuple[datetime, str]] = field(default_factory=list)

    def send_message(self, *, QueueUrl: str, MessageBody: str, DelaySeconds: int) -> None:  # noqa: N803, ARG002
        due = self.clock.now() + timedelta(seconds=DelaySeconds)
        self.waiting.append((due, MessageBody))

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        for each in Entries:
            self.send_message(
                QueueUrl=QueueUrl,
                MessageBody=each["MessageBody"],
                DelaySeconds=each["DelaySeconds"],
            )
        return {}

    def take(self) -> list[str]:
        """Messages that are due."""
        now = self.clock.now()
        due = [body for at, body in self.waiting if at <= now]
        self.waiting = [(at, body) for at, body in self.waiting if at > now]
        return due

    def next_due(self) -> datetime:
        return min((at for at, _ in self.waiting), default=NEVER)


class FixedPepper:
    """The SSM parameter that holds the pepper."""

    def get(self, _name: str, **_options: Any) -> str:
        return "0123456789abcdef" * 4


class World:
    """One per process; `reset` gives it an empty table and a carrier without faults."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        output_tap.report_secret("the carrier's token", AUTH_TOKEN)
        self.faults = Faults()
        self.clock = Clock(stepped=True, start=datetime(2026, 11, 24, 12, tzinfo=UTC))
        self.carrier = CarrierSimulator(
            ACCOUNT_SID,
            AUTH_TOKEN,
            clock=self.clock,
            settings=Settings(calls_per_second=FASTEST, keep_ended=500, keep_deliveries=50),
            seed=1,
        )
        listening = stack.enter_context(contextlib.closing(front.bound("127.0.0.1", 0)))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        stack.callback(self.clock.shut)
        self._joined_at: dict[str, datetime] = {}
        self._policies: list[PolicyStore] = []
        self._paces: list[pacing.Pace] = []
        self.shortest_sleep = SHORTEST_SLEEP
        self._tenant_rows: Any = None
        self._reset_at = self.clock.now()
        self._events, self._calls_at, self._calls = 0, (-1, -1), list[SeenCall]()
        self._records_at, self._records = -1, dict[str, dict[str, Any]]()
        self.carrier.subscribe(self._heard)
        self.carrier.start()
        stack.callback(self.carrier.stop)
        stack.enter_context(logs.collected())
        stack.enter_context(mock_aws())
        stack.enter_context(aws.once_for_all())
        stack.enter_context(tables.serialized())
        stack.enter_context(mock.patch.object(service_clock, "now", self.clock.now))
        passing = SimpleNamespace(sleep=self._sleep)
        stack.enter_context(mock.patch.object(pacing, "time", passing))
        self._define()
        self._load(stack)
        door = front.Front(listening, self.template.routes, self.functions, self.clock)
        door.start()
        stack.callback(door.close)

    def _sleep(self, seconds: float) -> None:
        """A function waits for its departure: time passes for all others, too.

        A wait shorter than `shortest_sleep` takes no time: it is part of each departure.
        """
        if seconds > self.shortest_sleep:
            self.carrier.advance(seconds)

    def _define(self) -> None:
        self.template = template.load(
            PROJECT / "template.yaml",
            {
                "CarrierApiUrl": self.carrier.url,
                "PublicUrl": self.url,
                "SipDomain": SIP_DOMAIN,
                "BusEvents": "all",
                "CallsPerSecond": str(FASTEST),
            },
        )
        (workflow,) = self.template.workflows
        self._definition = json.loads(workflow.definition)

    def _load(self, stack: contextlib.ExitStack) -> None:
        """Load the handlers and give them clients with fault points."""
        session = boto3.Session("local", "local", region_name="us-east-1")
        self._dynamodb = session.client("dynamodb")
        stack.callback(self._dynamodb.close)
        tables.without_http(self._dynamodb)
        self.queue = SettleQueue()
        self.triggers, self.departures = DelayQueue(self.clock), DelayQueue(self.clock)
        self.sequencer = Sequencer(self._definition, self._run_task, self.clock.now)
        before = set(sys.modules)
        loaded = stack.enter_context(
            functions.loaded(self.template.functions, "http://127.0.0.1:9")
        )
        self.functions = KillableFunctions(loaded)
        for name in set(sys.modules) - before:
            if name.startswith("local"):
                self._wire(sys.modules[name])
        request = TwilioHttpClient.request
        stack.enter_context(
            mock.patch.object(
                TwilioHttpClient, "request", self.faults.around("carrier.request", request)
            )
        )

    def _wire(self, module: Any) -> None:
        for each in _with_parts(vars(module).values()):
            if isinstance(each, Table):
                each._client = Faulty(self._dynamodb, "dynamodb", self.faults)
            if isinstance(each, trigger_queue.TriggerQueue):
                each._client = functools.partial(Faulty, self.triggers, "sqs", self.faults)
            if isinstance(each, Pepper):
                each._parameters = FixedPepper()  # type: ignore[assignment]
            if isinstance(each, pacing.Pace):
                each._client = functools.partial(Faulty, self.departures, "sqs", self.faults)
                self._paces.append(each)
            if isinstance(each, PolicyStore):
                self._policies.append(each)
            if isinstance(each, TwilioCarrier):
                each._credentials = FixedCredentials()  # type: ignore[assignment]
        if hasattr(module, "workflow"):
            workflow = module.workflow
            if isinstance(workflow, Workflow):
                workflow._client = functools.partial(Faulty, _Current(self), "states", self.faults)
                if workflow._queue:
                    sqs = Faulty(self.queue, "sqs", self.faults)
                    workflow._queue._client = lambda: sqs
        if hasattr(module, "credentials"):
            module.credentials = FixedCredentials()

    def reset(self, *, streaming: bool = False) -> None:
        """An empty table, with a stream or without; no executions, no faults; time goes on."""
        self.faults.clear()
        self.faults.killed.clear()
        self.carrier.advance(-self.clock.seconds() % 1)  # begin at a whole second
        self.queue.waiting.clear()
        self.triggers.waiting.clear()
        self.departures.waiting.clear()
        self._joined_at.clear()
        self._calls_at, self._records_at = (-1, -1), -1
        self._reset_at = self.clock.now()
        self.sequencer = Sequencer(self._definition, self._run_task, self.clock.now)
        self.carrier.call(self.carrier.exchange.faults.clear)
        if TABLE in self._dynamodb.list_tables()["TableNames"]:
            self._dynamodb.delete_table(TableName=TABLE)
        (table,) = self.template.tables
        # Only `tests/support/relay.py` reads the stream.
        kept = {"StreamSpecification"} if not streaming else set()
        self._dynamodb.create_table(**{k: v for k, v in table.items() if k not in kept})
        self._put_tenant()
        for policies in self._policies:  # may hold the tenant of an earlier test
            policies._cache.clear()
        self.shortest_sleep = SHORTEST_SLEEP
        for pace in self._paces:
            pace.departures._row = {}

    def _put_tenant(self) -> None:
        """Restore TENANT's initial rows, directly in moto's memory."""
        if self._tenant_rows is None:
            self.make_tenant(TENANT)
            self._tenant_rows = copy.deepcopy(self._moto_table().items)
        self._moto_table().items = copy.deepcopy(self._tenant_rows)

    @staticmethod
    def _moto_table() -> MotoTable:
        return dynamodb_backends[template.ACCOUNT][template.REGION].tables[TABLE]

    def make_tenant(self, tenant: str) -> None:
        """Add a tenant with generous limits (GENEROUS)."""
        tenants.TenantStore(Table(self._dynamodb, TABLE)).add_tenant(tenant)
        self.set_policy(tenant, **GENEROUS)

    def set_rate(self, calls_per_second: float) -> None:
        """Set the rate of create requests. Functions wait exactly for each departure."""
        self.shortest_sleep = 0.0
        Departures(Table(self._dynamodb, TABLE), FASTEST).set_rate(calls_per_second)

    def set_policy(self, tenant: str = TENANT, **fields: str) -> None:
        """Set fields of a tenant's policy. Functions cache policies, so it may take some seconds to
        take effect."""
        for name, text in fields.items():
            PolicyStore(Table(self._dynamodb, TABLE)).set(tenant, name, text)

    # -- doing -----------------------------------------------------------------------------------

    def invoke(self, function: str, payload: dict[str, Any]) -> tuple[Any, str | None]:
        """(result, error type) of a function, by its logical id."""
        (name,) = (f.name for f in self.template.functions if f.logical_id == function)
        return self._answer(self.functions.invoke(name, json.dumps(payload).encode()))

    def _run_task(self, name_or_arn: str, payload: dict[str, Any]) -> tuple[Any, str | None]:
        return self._answer(self.functions.invoke(name_or_arn, json.dumps(payload).encode()))

    @staticmethod
    def _answer(invocation: functions.Invocation) -> tuple[Any, str | None]:
        result = json.loads(invocation.payload)
        return (result, result["errorType"]) if invocation.error else (result, None)

    def request(
        self, method: str, callback_id: str = "", *, body: Any = None, **headers: str
    ) -> dict[str, Any] | None:
        """Send a client's request as API Gateway would. None: the function was killed."""
        route = f"{method} {PATH}" + ("/{callback_id}" if callback_id else "")
        answer, error = self.invoke(
            "CallbackApi",
            {
                "version": "2.0",
                "routeKey": route,
                "headers": headers,
                "requestContext": caller(),
                "pathParameters": {"callback_id": callback_id} if callback_id else None,
                "body": json.dumps(body) if body is not None else None,
            },
        )
        assert error in (None, "Runtime.ExitError"), answer
        self.run()
        return None if error else answer

    def run(self) -> None:
        """Run everything that is due now."""
        self.sequencer.run()
        for execution in self.sequencer.died[:]:
            self.sequencer.died.remove(execution)
            detail = {"name": execution.name, "status": execution.status}
            _, error = self.invoke("CloseCallback", {"detail": detail})
            if error:
                self.sequencer.died.append(execution)  # EventBridge tries again
                break
        for _ in range(len(self.queue.waiting)):
            callback_id = self.queue.waiting.popleft()  # webhooks may be adding to it
            message = {"messageId": callback_id, "body": callback_id, "eventSource": "aws:sqs"}
            result, error = self.invoke("SettleCallback", {"Records": [message]})
            if error or result["batchItemFailures"]:
                self.queue.waiting.append(callback_id)

        for queue, function in (
            (self.triggers, "AcceptTrigger"),
            (self.departures, "UseDeparture"),
        ):
            for body in queue.take():
                message = {"messageId": body, "body": body, "eventSource": "aws:sqs"}
                result, error = self.invoke(function, {"Records": [message]})
                if error or result["batchItemFailures"]:
                    queue.waiting.append((self.clock.now() + timedelta(seconds=1), body))
                self.sequencer.run()

    def advance(self, seconds: int) -> None:
        """Let time pass, second by second; work runs in the second in which it falls due.

        0 seconds still let the carrier send the webhooks that are due now."""
        if seconds == 0:
            self.carrier.advance(0)
            self.run()
        if seconds > 0:
            self.let(seconds, 1.0)

    def let(self, seconds: float, step: float) -> None:
        """Let time pass, in steps: work runs at the end of the step in which it falls due."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.carrier.run(self._pass(end, step))
            self.run()

    async def _pass(self, end: float, step: float) -> None:
        """Let one step pass, or all steps until something is due."""
        rest = await self._rest()
        now = self.clock.seconds()
        upto = min(end, now + whole_steps(min(rest, end - now), step))
        await self.clock.advance(upto - now)

    def rest(self) -> float:
        """Seconds until the next work that is known now falls due."""
        return self.carrier.run(self._rest())

    async def _rest(self) -> float:
        await self.clock.advance(0)  # requests just sent to the carrier set its timers
        if self.queue.waiting or self.sequencer.died:
            return 0.0
        queues = (self.triggers.next_due(), self.departures.next_due())
        due = min(self.sequencer.next_due(), *queues)
        return min(self.clock.quiet(), (due - self.clock.now()).total_seconds())

    def reconcile(self) -> None:
        self.invoke("Reconcile", {})
        self.run()

    def plan_departures(self) -> None:
        self.invoke("PlanDepartures", {})
        self.run()

    def make_number(self, number: str, tenant: str = TENANT, **takes: Any) -> str:
        """Give a tenant a number, and add the tenant if it does not exist. Returns `number`."""
        with contextlib.suppress(tenants.TenantExists):
            self.make_tenant(tenant)
        owned = numbers.TenantNumber(number, tenant, owned=True, **takes)
        numbers.NumberStore(Table(self._dynamodb, TABLE)).put(owned)
        return number

    def hang_up(self, call_sid: str) -> None:
        """The called party hangs up, or declines while it rings."""
        self.carrier.call(self.carrier.exchange.calls[call_sid].hang_up)
        self.advance(0)

    def carrier_fault(self, fault: str, **fields: Any) -> None:
        rule = FaultRule(fault, seconds=3.0, **fields)
        self.carrier.call(self.carrier.exchange.faults.add, rule)

    def heal(self) -> None:
        """Remove all faults."""
        self.sequencer.throttled = 0
        self.faults.clear()
        self.carrier.call(self.carrier.exchange.faults.clear)

    # -- looking ---------------------------------------------------------------------------------

    def records(self) -> dict[str, dict[str, Any]]:
        """Every callback row as stored, by id; read again only if something was written."""
        if self.faults.calls == self._records_at:
            return self._records
        self._records_at = self.faults.calls
        # Straight from moto's memory: a scan after every step would take most of a history's time.
        rows = [
            item.to_json()["Attributes"]
            for items in self._moto_table().items.values()
            for item in items.values()
            if item.range_key.value == "CALLBACK"
        ]
        self._records = {row["callback_id"]["S"]: row for row in rows}
        return self._records

    def calls(self) -> list["SeenCall"]:
        """Every call the carrier has placed for us since `reset`; looked at again only if
        something has happened there."""
        moment = (self._events, self.faults.calls)
        if moment != self._calls_at:
            self._calls_at = moment
            self._calls = self.carrier.call(self._look)
        return self._calls

    def _look(self) -> list["SeenCall"]:
        return [
            SeenCall(
                call.sid,
                *_place(call.options.source.url),
                status=call.status,
                created_at=call.created,
                joined_at=self._joined_at.get(call.sid),
                in_room=call.participant is not None,
            )
            for call in self.carrier.exchange.calls.values()
            if call.created >= self._reset_at
        ]

    def _heard(self, event: dict[str, Any]) -> None:
        self._events += 1
        if event["kind"] == "conference.join":
            self._joined_at.setdefault(event["subject"], event["at"])


class _Current:
    """Forwards to the current sequencer: `reset` makes a new one."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.sequencer, name)


@dataclass(frozen=True)
class SeenCall:
    """A call as the carrier knows it: for which leg it was made, and whether it got in."""

    sid: str
    callback_id: str
    leg: str
    attempt: int
    status: str
    created_at: datetime
    joined_at: datetime | None
    in_room: bool

    @property
    def live(self) -> bool:
        return self.status in LIVE


def whole_steps(seconds: float, step: float) -> float:
    """Round up to a whole number of steps, at least one."""
    return max(1, math.ceil(seconds / step)) * step


def _place(url: str) -> tuple[str, str, int]:
    """(callback id, leg, attempt) from the TwiML URL that the call was made with."""
    callback_id, leg, attempt = urlsplit(url).path.split("/")[-3:]
    return callback_id, leg, int(attempt)


@contextlib.contextmanager
def run_world() -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        yield World(stack)
