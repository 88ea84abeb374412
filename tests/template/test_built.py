"""The functions as `sam build` made them answer their events, each in a sandbox of its own.

Behind them stand the embedded AWS and the carrier's simulator.
"""

import base64
import contextlib
import hashlib
import io
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from moto.sqs.models import sqs_backends
from twilio.rest import Client
from werkzeug import Response

from callback import clock
from callback.errors import CallbackNotFound, WebhookEndpointNotFound
from callback.lifecycle import transitions
from callback.lifecycle.models import (
    Callback,
    CallbackStatus,
    CloseReason,
    LegName,
    LegOutcome,
    LegStatus,
    Reservation,
    Source,
    Step,
    WaitingFor,
    to_text,
)
from callback.privacy.erasures import ErasureStore
from callback.requests.expiry import end_waiting
from callback.scopes import Scope
from callback.storage import departures
from callback.storage.intake import IntakeStore
from callback.storage.listings import read_open
from callback.storage.table import Expression, Table, key_row
from callback.storage.waiting_line import WaitingLine
from callback.tenancy.api_keys import ApiKey, ApiKeyStore, hash_of
from callback.tenancy.numbers import NumberStore, TenantNumber
from callback.tenancy.pepper import Pepper
from callback.tenancy.policy_store import PolicyStore
from callback.tenancy.suppression import SuppressionList
from callback.tenancy.tenants import TenantStore
from callback.triggers.queue import Trigger, TriggerStore
from callback.webhooks import breakers
from callback.webhooks.breakers import BreakerStore, Outage
from callback.webhooks.deliveries import (
    AGE_LIMIT,
    Delivery,
    DeliveryStore,
    index_from,
    mark_failed,
    park,
)
from callback.webhooks.endpoints import EndpointStore
from events import sign
from tests.local import aws, environment, output_tap, template
from tests.local.carrier import CarrierSimulator, Clock
from tests.local.stack import GENEROUS
from tests.support import build as callbacks
from tests.support.world import without_rates
from tests.template import document, sandbox
from tests.template.sandbox import Sandbox

EVENTS = document.ROOT / "events"
HOST = "abcdef1234.execute-api.us-east-1.amazonaws.com"
SIP_DOMAIN = "pbx.example.com"
CALL_SID = "CA0123456789abcdef0123456789abcdef"
SERVICES = {
    "AWSEvents": "events",
    "AWSStepFunctions": "states",
    "AmazonSQS": "sqs",
    "AmazonSSM": "ssm",
    "DynamoDB_20120810": "dynamodb",
}
# These run by the clock on the wall, unlike the callbacks of the unit tests.
A_WHILE_AGO = datetime.now(UTC) - timedelta(minutes=5)
TOKEN = "not the token of a task that still runs"
PEPPER = "made up: 0123456789abcdef0123456789abcdef"
SECRET = "made-up-and-meant-to-be-known-0123456789abcd"

READS_A_QUEUE = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
READS_A_STREAM = {
    f"dynamodb:{action}"
    for action in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
}


@dataclass
class World:
    """What stands behind the functions, and what they asked of it."""

    aws: aws.EmbeddedAws
    store: IntakeStore
    carrier: Client
    parameters: dict[str, str]
    definitions: dict[str, template.FunctionDefinition]
    build: Path
    stack: contextlib.ExitStack
    logs: Path
    sandboxes: dict[Any, Sandbox] = field(default_factory=dict)
    used: dict[str, set[str]] = field(default_factory=dict)

    def invoke(self, function: str, event: Path, before: str = "", **parameters: str) -> Any:
        """The handler's answer to an event, where the template is deployed with `parameters`;
        `before` is Python that is run once the handler is there."""
        definition = self.definitions[function]
        if parameters:
            resources = template.load(document.TEMPLATE, self.parameters | parameters)
            definition = definitions(resources)[function]
        running = self._sandbox(function, definition)
        try:
            return running.answer(event, before)
        finally:
            output_tap.report_text(f"the log of {function}", running.printed())

    def _sandbox(self, function: str, definition: template.FunctionDefinition) -> Sandbox:
        # The key tells the embedded AWS who asks.
        given = environment.of_function(definition, self.aws.url) | {"AWS_ACCESS_KEY_ID": function}
        same = (function, *sorted(given.items()))
        if same not in self.sandboxes:
            self.sandboxes[same] = self.stack.enter_context(
                sandbox.run_sandbox(
                    self.build / function,
                    self.build / "SharedLayer" / "python",
                    given,
                    self.logs / f"{function}-{len(self.sandboxes)}",
                )
            )
        return self.sandboxes[same]

    def seed(self, event: Path, seeded: Callback) -> Callback:
        """Store a callback under the id that the event speaks of."""
        seeded = replace(seeded, callback_id=callback_id(event))
        self.store.add(seeded)
        return seeded

    def ring(self) -> str:
        """A call at the carrier; its SID."""
        call = self.carrier.calls.create(
            to=f"sip:1000123@{SIP_DOMAIN}", from_="1000125", url=f"https://{HOST}/carrier/fallback"
        )
        return str(call.sid)

    def calls_to(self, user: str) -> list[Any]:
        return [c for c in self.carrier.calls.list() if c.to == f"sip:{user}@{SIP_DOMAIN}"]


def another(event: Path, folder: Path) -> Path:
    """The same event about another callback, signed anew if the carrier signs it."""
    copy = folder / f"{uuid.uuid4()}.json"
    text = event.read_text(encoding="utf-8")
    changed = json.loads(text.replace(callback_id(event), f"1b1f6a0e-{str(uuid.uuid4())[9:]}"))
    if "x-twilio-signature" in changed.get("headers", {}):
        sign.sign(changed, sign.form_of(changed))
    copy.write_text(json.dumps(changed), encoding="utf-8")
    return copy


def records(event: Path) -> list[dict[str, Any]]:
    """Of an event from a queue."""
    return list(json.loads(event.read_text(encoding="utf-8"))["Records"])


def callback_id(event: Path) -> str:
    (found,) = set(re.findall(r"1b1f6a0e-[0-9a-f-]{27}", event.read_text(encoding="utf-8")))
    return str(found)


# A transaction needs the permission for each thing that it does, and has none of its own (DynamoDB
# Developer Guide, "Using IAM with transactions").
PERMISSION_TO = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}


def written_by(environ: dict[str, Any]) -> set[str]:
    """The actions that a transaction consists of; its body is left to be read again."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    environ["wsgi.input"] = io.BytesIO(body)
    items = json.loads(body)["TransactItems"]
    return {PERMISSION_TO[kind] for item in items for kind in item}


class Recorder(aws.DomainDispatcherApplication):
    """moto's application, noting which action each function asked for."""

    used: dict[str, set[str]]
    throttles_settlings = False

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        signed = re.search(r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        prefix, _, action = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
        if signed and action:
            done = written_by(environ) if action == "TransactWriteItems" else {action}
            # The permission for one message is that for a batch (Service Authorization Reference).
            done = {"SendMessage" if each == "SendMessageBatch" else each for each in done}
            self.used.setdefault(signed[1], set()).update(f"{SERVICES[prefix]}:{a}" for a in done)
        if self.throttles_settlings and action.startswith("SendTask"):
            return THROTTLED(environ, start_response)
        return super().__call__(environ, start_response)


# As Step Functions says it (its API reference, "Common Errors"), which moto never does.
THROTTLED = Response(
    json.dumps({"__type": "ThrottlingException", "message": "Rate exceeded"}),
    status=400,
    content_type="application/x-amz-json-1.0",
)


@contextlib.contextmanager
def settlings_throttled() -> Iterator[None]:
    with mock.patch.object(Recorder, "throttles_settlings", new=True):
        yield


def definitions(resources: template.Template) -> dict[str, template.FunctionDefinition]:
    return {function.logical_id: function for function in resources.functions}


@pytest.fixture(scope="module")
def world(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    carrier = CarrierSimulator(sign.ACCOUNT_SID, sign.TOKEN, clock=Clock(1.0), port=0)
    carrier.start()
    parameters = {
        "CarrierApiUrl": carrier.url,
        "PublicUrl": f"https://{HOST}",
        "SipDomain": SIP_DOMAIN,
        "CallsPerSecond": "1000",
    }
    resources = template.load(document.TEMPLATE, parameters)
    Recorder.used = {}
    for kind, value in (
        ("the carrier's token", sign.TOKEN),
        ("the pepper", PEPPER),
        ("an API key's secret", SECRET),
        ("a task token", TOKEN),
    ):
        output_tap.report_secret(kind, value)
    secret = {"account_sid": sign.ACCOUNT_SID, "auth_token": sign.TOKEN}
    try:
        with (
            mock.patch.object(aws, "DomainDispatcherApplication", Recorder),
            aws.run_aws() as cloud,
            contextlib.ExitStack() as stack,
        ):
            # Executions are started and never run: the workflow here has nothing to do.
            (workflow,) = resources.workflows
            idle = {
                "StartAt": "Rest",
                "States": {"Rest": {"Type": "Wait", "Seconds": 1, "End": True}},
            }
            idle_workflow = replace(workflow, definition=json.dumps(idle))
            cloud.create(
                replace(resources, workflows=(idle_workflow,)),
                {"/voice-callback/carrier": secret, "/voice-callback/key-pepper": PEPPER},
            )
            table = resources.tables[0]["TableName"]
            TenantStore(Table(cloud.dynamodb, table)).add_tenant("default")
            for field, value in (GENEROUS | {"fallback_caller_id": NUMBER}).items():
                PolicyStore(Table(cloud.dynamodb, table)).set("default", field, value)
            client = Client(sign.ACCOUNT_SID, sign.TOKEN)
            client.api.base_url = carrier.url
            yield World(
                aws=cloud,
                store=IntakeStore(Table(cloud.dynamodb, table), sip_domain=SIP_DOMAIN),
                carrier=client,
                parameters=parameters,
                definitions=definitions(resources),
                build=build,
                stack=stack,
                logs=tmp_path_factory.mktemp("logs"),
                used=Recorder.used,
            )
    finally:
        carrier.stop()


def planned() -> Callback:
    held = Reservation("2026-11-24", "USD", micros=30_000, per_minute_a=10_000, per_minute_b=10_000)
    return callbacks.callback(created_at=A_WHILE_AGO, reservation=held)


def waiting(before: Callback, step: Step) -> Callback:
    return callbacks.allowed(transitions.wait(before, callbacks.task(step, TOKEN)))


def dialing() -> Callback:
    """Leg A is being called; the carrier has not said yet which call that is."""
    return callbacks.allowed(transitions.claim(planned(), LegName.A, A_WHILE_AGO))


def over() -> Callback:
    return replace(planned(), close_reason=CloseReason.CANCELED)


def aliases(path: Path) -> list[str]:
    events = yaml.parse(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    return [event.anchor for event in events if isinstance(event, yaml.AliasEvent)]


def test_the_built_template_contains_no_yaml_alias(build: Path) -> None:
    """CloudFormation takes no aliases (User Guide, "CloudFormation template format")."""
    assert "public-url" in aliases(document.TEMPLATE)
    assert aliases(build / "template.yaml") == []


def test_a_compiled_module_is_unchecked_and_has_its_path_in_lambda(build: Path) -> None:
    """The layer is built for the Python that runs this test, so its magic number matches."""
    layer = build / "SharedLayer" / "python" / "callback" / "__pycache__"
    function = build / "CarrierWebhook" / "__pycache__"
    for module, place in (
        (next(layer.glob("settings.*.pyc")), b"/opt/python/callback/settings.py"),
        (next(function.glob("handler.*.pyc")), b"/var/task/handler.py"),
    ):
        compiled = module.read_bytes()
        assert compiled[:4] == MAGIC_NUMBER
        assert compiled[4:8] == b"\x01\x00\x00\x00"  # by hash, and unchecked (PEP 552)
        assert place in compiled


def test_every_sample_event_has_a_test() -> None:
    named = set(re.findall(r'"((?:\w+)/(?:\w+)\.json)"', Path(__file__).read_text("utf-8")))

    assert {path.relative_to(EVENTS).as_posix() for path in EVENTS.rglob("*.json")} == named


@pytest.mark.parametrize(
    "path",
    [*sorted(EVENTS.glob("carrier_webhook/*.json")), *sorted(EVENTS.glob("trigger/[cs]*.json"))],
    ids=lambda path: path.stem,
)
def test_a_sample_webhook_is_signed_with_the_documented_token(path: Path) -> None:
    event = json.loads(path.read_text(encoding="utf-8"))
    if event["requestContext"]["http"]["method"] == "GET":
        assert "x-twilio-signature" not in event["headers"]  # the ringback needs no signature
        return
    again = json.loads(json.dumps(event))
    sign.sign(again, sign.form_of(event))

    assert again == event
    assert sign.form_of(event)["AccountSid"] == sign.ACCOUNT_SID
    assert sign.url_of(event).startswith(f"https://{HOST}/carrier/")


def test_sample_events_of_aws_come_from_resources_of_the_template(deployed: dict[str, Any]) -> None:
    """CloudFormation names an unnamed resource <stack>-<logical id>-<suffix>."""
    tick, stopped, requested, *queued = (
        json.loads((EVENTS / name).read_text(encoding="utf-8"))
        for name in (
            "reconcile/tick.json",
            "close_callback/failed_execution.json",
            "trigger_event/requested.json",
            "settle_callback/settling.json",
            "use_departure/leg.json",
            "use_departure/first.json",
            "accept_trigger/waiting.json",
            "notify_client/delivery.json",
        )
    )
    (rule,) = tick["resources"]
    sources = {
        source
        for mapping in document.of_type(deployed, "AWS::Lambda::EventSourceMapping").values()
        for source in document.references(mapping["EventSourceArn"])
    }
    pattern = document.of_type(deployed, "AWS::Events::Rule")["TriggerRule"]["EventPattern"]

    assert rule.startswith("arn:aws:events:us-east-1:123456789012:rule/voice-callback-Reconcile")
    assert rule.rpartition("/")[2].split("-")[2] in document.of_type(deployed, "AWS::Events::Rule")
    assert set(tick) == set(stopped) == set(requested)
    assert requested["detail-type"] in pattern["detail-type"]
    assert requested["source"] == deployed["Parameters"]["TriggerEventSource"]["Default"]
    assert (tick["source"], tick["detail-type"]) == ("aws.events", "Scheduled Event")
    assert tick["detail"] == {}
    writes = json.loads((EVENTS / "publish_events/writes.json").read_text("utf-8"))
    taken = [record for each in queued for record in each["Records"]]
    prefix = r"arn:aws:(?:sqs|dynamodb):us-east-1:123456789012:(?:table/)?voice-callback-(\w+)-"
    told = {re.match(prefix, each["eventSourceARN"])[1] for each in (*taken, *writes["Records"])}
    assert told == sources
    for record in taken:
        # SQS has a hash of what it delivers: not for security.
        body = record["body"].encode()
        assert record["md5OfBody"] == hashlib.md5(body, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("name", ["authorizer/bearer.json", "authorizer/basic.json"])
def test_a_key_authorizes_its_tenant_until_it_is_revoked(world: World, name: str) -> None:
    """The key is the made-up one of the events."""
    store = ApiKeyStore(world.store.table)
    tenant = f"tenant-{Path(name).stem}"
    key = ApiKey(
        key_id="key_0123456789abcdef0123",
        tenant=tenant,
        scopes=frozenset({Scope.READ}),
        hash=hash_of(PEPPER, "key_0123456789abcdef0123", SECRET),
        created_at=A_WHILE_AGO,
    )
    world.aws.dynamodb.delete_item(
        TableName=world.store.table._name,
        Key={"pk": {"S": f"APIKEY#{key.key_id}"}, "sk": {"S": "APIKEY"}},
    )
    assert world.invoke("Authorizer", EVENTS / name) == {"isAuthorized": False}

    TenantStore(world.store.table).add_tenant(tenant)
    store.add(key)
    assert world.invoke("Authorizer", EVENTS / name) == {
        "isAuthorized": True,
        "context": {"tenant": tenant, "key_id": key.key_id, "scopes": "callbacks:read"},
    }

    store.revoke(key.key_id)
    assert world.invoke("Authorizer", EVENTS / name) == {"isAuthorized": False}


def test_a_client_creates_a_callback(world: World) -> None:
    answer = world.invoke("CallbackApi", EVENTS / "callback_api/create.json")
    body = json.loads(answer["body"])

    assert answer["statusCode"] == 202
    assert answer["headers"]["Location"] == f"/voice/call/callback/{body['callback_id']}"
    assert body["leg_A"]["to"] == "1000123"
    assert body["leg_A"]["status"] == "queued"
    assert body["leg_B"]["status"] == "planned"
    assert [call.sid for call in world.calls_to("1000123")] == [body["leg_A"]["call_sid"]]
    assert executions(world) == {body["callback_id"]}


def test_a_repeated_request_gets_the_first_response(world: World) -> None:
    event = EVENTS / "callback_api/create_once.json"
    first, again = (world.invoke("CallbackApi", event) for _ in range(2))

    assert first["statusCode"] == 202
    assert again["headers"].pop("Idempotent-Replayed") == "true"
    assert again == without_rates(first)
    assert len(world.calls_to("1000201")) == 1


def test_a_request_without_a_key_is_refused_where_one_is_required(world: World) -> None:
    before = len(world.carrier.calls.list())
    answer = world.invoke(
        "CallbackApi", EVENTS / "callback_api/create.json", RequireIdempotencyKey="true"
    )

    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["code"] == "idempotency_key_missing"
    assert len(world.carrier.calls.list()) == before


def test_a_client_lists_callbacks(world: World) -> None:
    world.store.add(replace(planned(), callback_id="listed"))
    answer = world.invoke("CallbackApi", EVENTS / "callback_api/list.json")

    assert answer["statusCode"] == 200
    assert "listed" in [each["callback_id"] for each in json.loads(answer["body"])["callbacks"]]


def test_a_client_reads_a_callback(world: World) -> None:
    event = EVENTS / "callback_api/read.json"
    world.seed(event, planned())
    answer = world.invoke("CallbackApi", event)

    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["callback_id"] == callback_id(event)


def test_a_client_cancels_a_callback(world: World) -> None:
    event = EVENTS / "callback_api/cancel.json"
    world.seed(event, waiting(planned(), Step.FIRST))
    answer = world.invoke("CallbackApi", event)

    assert answer["statusCode"] == 202
    assert world.store.get(callback_id(event)).close_reason is CloseReason.CANCELED


def test_a_client_cancels_while_the_second_party_is_called(world: World, tmp_path: Path) -> None:
    event = another(EVENTS / "callback_api/cancel.json", tmp_path)
    second = callbacks.dialed(callbacks.joined(planned(), LegName.A), LegName.B)
    world.seed(event, waiting(second, Step.SECOND))

    assert world.invoke("CallbackApi", event)["statusCode"] == 202


def test_an_answered_call_is_joined_to_the_room(world: World) -> None:
    event = EVENTS / "carrier_webhook/twiml.json"
    seeded = world.seed(event, dialing())
    answer = world.invoke("CarrierWebhook", event)

    assert answer["statusCode"] == 200
    assert answer["headers"]["Content-Type"].startswith("text/xml")
    assert f">{seeded.room}</Conference>" in answer["body"]
    assert world.store.get(callback_id(event)).leg_a.call_sid == CALL_SID


def test_a_busy_party_ends_the_leg(world: World) -> None:
    event = EVENTS / "carrier_webhook/status.json"
    world.seed(event, waiting(dialing(), Step.FIRST))
    answer = world.invoke("CarrierWebhook", event)
    leg = world.store.get(callback_id(event)).leg_a

    assert answer["statusCode"] == 204
    assert (leg.outcome, leg.cause) == (LegOutcome.BUSY, "sip_486")


def test_the_end_of_the_last_leg_releases_the_reservation(world: World, tmp_path: Path) -> None:
    event = another(EVENTS / "carrier_webhook/status.json", tmp_path)
    gone = replace(planned().leg_b, status=LegStatus.ENDED, ended_at=A_WHILE_AGO)
    world.seed(event, replace(dialing(), leg_b=gone))
    world.invoke("CarrierWebhook", event)
    ended = world.store.get(callback_id(event))

    assert ended.status is CallbackStatus.ENDED
    assert ended.reservation is not None
    assert ended.reservation.released


def test_a_party_in_the_room_is_joined(world: World) -> None:
    event = EVENTS / "carrier_webhook/conference.json"
    world.seed(event, waiting(dialing(), Step.FIRST))
    answer = world.invoke("CarrierWebhook", event)

    assert answer["statusCode"] == 204
    assert world.store.get(callback_id(event)).leg_a.status is LegStatus.JOINED


def test_the_waiting_party_hears_ringback(world: World) -> None:
    answer = world.invoke("CarrierWebhook", EVENTS / "carrier_webhook/wait.json")

    assert answer["statusCode"] == 200
    assert f">https://{HOST}/carrier/ringback.wav</Play>" in answer["body"]


def test_the_fallback_document_speaks_to_the_party(world: World) -> None:
    answer = world.invoke("CarrierWebhook", EVENTS / "carrier_webhook/fallback.json")

    assert answer["statusCode"] == 200
    assert "<Say>" in answer["body"]


def test_the_ringback_is_audio(world: World) -> None:
    answer = world.invoke("CarrierWebhook", EVENTS / "carrier_webhook/ringback.json")

    assert answer["headers"]["Content-Type"] == "audio/wav"
    assert answer["isBase64Encoded"] is True
    assert base64.b64decode(answer["body"]).startswith(b"RIFF")


def test_a_changed_webhook_is_refused(world: World, tmp_path: Path) -> None:
    path = EVENTS / "carrier_webhook/status.json"
    event = json.loads(path.read_text(encoding="utf-8"))
    signature = event["headers"]["x-twilio-signature"]
    sign.sign(event, sign.form_of(event) | {"CallStatus": "completed"})
    event["headers"]["x-twilio-signature"] = signature
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(event), encoding="utf-8")

    assert world.invoke("CarrierWebhook", forged)["statusCode"] == 403


def test_the_first_step_dials_the_first_party(world: World) -> None:
    event = EVENTS / "place_leg/first.json"
    world.seed(event, planned())
    world.invoke("PlaceLeg", event)
    placed = world.store.get(callback_id(event))

    assert placed.leg_a.call_sid in [call.sid for call in world.calls_to("1000123")]
    assert placed.waiting is not None
    assert placed.waiting.token == json.loads(event.read_text(encoding="utf-8"))["token"]


def test_the_second_step_dials_the_second_party(world: World) -> None:
    event = EVENTS / "place_leg/second.json"
    world.seed(event, callbacks.joined(planned(), LegName.A))
    world.invoke("PlaceLeg", event)

    dialed = world.store.get(callback_id(event)).leg_b
    assert dialed.call_sid in [call.sid for call in world.calls_to("1000125")]


def test_a_first_step_whose_party_is_in_the_room_already_dials_nobody(
    world: World, tmp_path: Path
) -> None:
    event = another(EVENTS / "place_leg/first.json", tmp_path)
    world.seed(event, callbacks.joined(planned(), LegName.A))
    before = len(world.carrier.calls.list())
    world.invoke("PlaceLeg", event)

    assert len(world.carrier.calls.list()) == before


@contextlib.contextmanager
def departures_are_far_ahead(world: World) -> Iterator[None]:
    """All departures of the next minute are booked."""
    ahead = departures.to_us(datetime.now(UTC) + timedelta(minutes=1))
    world.store.table.put({**key_row(departures.KEY), "next_us": ahead})
    try:
        yield
    finally:
        world.store.table.delete(departures.KEY)


def departing_leg(world: World) -> dict[str, Any]:
    """The one message in the departure queue, which is taken from there."""
    (body,) = departing_legs(world)
    return body


def departing_legs(world: World) -> list[dict[str, Any]]:
    """The messages in the departure queue, which are taken from there."""
    name = world.definitions["PlaceLeg"].environment["DEPARTURE_QUEUE_URL"].rpartition("/")[2]
    queue = sqs_backends[template.ACCOUNT][template.REGION].queues[name]
    bodies = [json.loads(message.body) for message in queue._messages]
    queue._messages = []
    return bodies


def test_a_leg_whose_departure_is_far_ahead_waits_in_the_queue(
    world: World, tmp_path: Path
) -> None:
    event = another(EVENTS / "place_leg/second.json", tmp_path)
    world.seed(event, callbacks.joined(planned(), LegName.A))
    with departures_are_far_ahead(world):
        world.invoke("PlaceLeg", event)

    assert departing_leg(world)["callback_id"] == callback_id(event)
    assert world.store.get(callback_id(event)).leg_b.status is LegStatus.PLANNED


def test_a_leg_whose_departure_has_come_is_dialed(world: World) -> None:
    event = EVENTS / "use_departure/leg.json"
    (record,) = records(event)
    leg_id = json.loads(record["body"])["callback_id"]
    joined = callbacks.joined(planned(), LegName.A)
    world.store.add(replace(waiting(joined, Step.SECOND), callback_id=leg_id))
    assert world.invoke("UseDeparture", event) == {"batchItemFailures": []}

    dialed = world.store.get(leg_id).leg_b
    assert dialed.call_sid in [call.sid for call in world.calls_to("1000125")]


def departure_of(folder: Path, leg_id: str, step: Step) -> Path:
    """The message of a leg that waited for the carrier's pause, and has no departure yet."""
    event = json.loads((EVENTS / "use_departure/leg.json").read_text(encoding="utf-8"))
    message = json.loads(event["Records"][0]["body"])
    message |= {"callback_id": leg_id, "departure": None, "step": step}
    event["Records"][0]["body"] = json.dumps(message)
    path = folder / "leg.json"
    path.write_text(json.dumps(event), encoding="utf-8")
    return path


def test_a_leg_that_finds_no_near_departure_is_put_back(world: World, tmp_path: Path) -> None:
    leg_id = str(uuid.uuid4())
    joined = callbacks.joined(planned(), LegName.A)
    world.store.add(replace(waiting(joined, Step.SECOND), callback_id=leg_id))
    with departures_are_far_ahead(world):
        world.invoke("UseDeparture", departure_of(tmp_path, leg_id, Step.SECOND))

    assert departing_leg(world)["hops"] == 2


@pytest.mark.parametrize("is_over", [True, False])
def test_a_departure_settles_a_step_that_is_decided(
    world: World, tmp_path: Path, is_over: bool
) -> None:
    leg_id = str(uuid.uuid4())
    decided = over() if is_over else callbacks.joined(planned(), LegName.A)
    world.store.add(replace(waiting(decided, Step.FIRST), callback_id=leg_id))
    event = departure_of(tmp_path, leg_id, Step.FIRST)

    assert world.invoke("UseDeparture", event) == {"batchItemFailures": []}


def changed(event: Path, folder: Path, **changes: Any) -> Path:
    path = folder / event.name
    path.write_text(json.dumps(json.loads(event.read_text("utf-8")) | changes), encoding="utf-8")
    return path


def end_the_waiting_one(world: World) -> Callback:
    line = WaitingLine(world.store)
    (callback,) = line.callbacks("default")
    end_waiting(world.store, callback, CloseReason.EXPIRED)
    return callback


def test_a_requested_callback_without_a_near_departure_waits(world: World, tmp_path: Path) -> None:
    body = {"leg_A": {"to": "1000123"}, "leg_B": {"to": "1000125"}, "allow_parallel": True}
    event = changed(EVENTS / "callback_api/create.json", tmp_path, body=json.dumps(body))
    with departures_are_far_ahead(world):
        answer = world.invoke("CallbackApi", event)

    assert json.loads(answer["body"])["status"] == "waiting"
    assert departing_leg(world) == {"kind": "first"}
    assert end_the_waiting_one(world).waiting_for == "departure"


def add_waiting(world: World, **given: Any) -> str:
    """A waiting callback, stored as its request stores it. Returns its id."""
    created = replace(planned(), callback_id=str(uuid.uuid4()), created_at=datetime.now(UTC))
    fresh = replace(created, start_by=datetime.now(UTC) + timedelta(minutes=9))
    callback = replace(
        transitions.begin_waiting(fresh, WaitingFor.DEPARTURE, 0, None),
        **given,
    )
    WaitingLine(world.store).join(callback.tenant, datetime.now(UTC))
    world.store.add(callback)
    return callback.callback_id


def test_a_departure_starts_a_waiting_callback(world: World) -> None:
    waiting_id = add_waiting(world)
    answer = world.invoke("UseDeparture", EVENTS / "use_departure/first.json")
    assert answer == {"batchItemFailures": []}

    started = world.store.get(waiting_id)
    assert started.leg_a.call_sid in [call.sid for call in world.calls_to("1000123")]
    assert waiting_id in executions(world)


def test_the_minutes_plan_ends_or_offers_a_departure(world: World) -> None:
    expired_id = add_waiting(world, start_by=A_WHILE_AGO)
    waiting_id = add_waiting(world)
    line = WaitingLine(world.store)
    line.join("nobody-waits", A_WHILE_AGO)
    world.invoke("PlanDepartures", EVENTS / "plan_departures/tick.json")

    assert world.store.get(expired_id).outcome == "expired"
    assert [each.callback_id for each in line.callbacks("default")] == [waiting_id]
    assert [tenant.name for tenant in line.tenants()] == ["default"]
    assert departing_legs(world) == [{"kind": "first"}] * 2
    end_the_waiting_one(world)


@pytest.mark.parametrize("step", Step)
def test_a_step_of_a_callback_that_is_over_dials_nobody(
    world: World, tmp_path: Path, step: Step
) -> None:
    event = another(EVENTS / f"place_leg/{step}.json", tmp_path)
    world.seed(event, over())
    before = len(world.carrier.calls.list())
    world.invoke("PlaceLeg", event)

    assert len(world.carrier.calls.list()) == before


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("close_callback/step.json", "timed_out"),
        ("close_callback/failed_execution.json", "failed"),
    ],
)
def test_closing_ends_the_call_that_still_rings(world: World, name: str, outcome: str) -> None:
    event = EVENTS / name
    call_sid = world.ring()
    rings = replace(dialing().leg_a, status=LegStatus.QUEUED, call_sid=call_sid)
    world.seed(event, replace(dialing(), leg_a=rings))
    world.invoke("CloseCallback", event)

    assert world.carrier.calls(call_sid).fetch().status == "canceled"
    assert world.store.get(callback_id(event)).outcome == outcome


def executions(world: World) -> set[str]:
    (machine,) = world.aws.stepfunctions.list_state_machines()["stateMachines"]
    listed = world.aws.stepfunctions.list_executions(stateMachineArn=machine["stateMachineArn"])
    return {execution["name"] for execution in listed["executions"]}


def test_reconcile_repairs_open_callbacks_and_unlists_ended_ones(world: World) -> None:
    """One callback has no execution, one was not closed, two executions were not woken."""
    rings = replace(dialing().leg_a, status=LegStatus.QUEUED, call_sid=world.ring())
    left = {
        "without-workflow": planned(),
        "never-closed": replace(over(), leg_a=rings),
        "never-woken-first": waiting(over(), Step.FIRST),
        "never-woken-second": waiting(over(), Step.SECOND),
        "ended": replace(over(), status=CallbackStatus.ENDED),
        "ended-just-now": replace(
            over(), status=CallbackStatus.ENDED, created_at=datetime.now(UTC)
        ),
    }
    for name, each in left.items():
        world.store.add(replace(each, callback_id=name))
    world.invoke("Reconcile", EVENTS / "reconcile/tick.json")

    assert "without-workflow" in executions(world)
    closed = [world.store.get(name) for name in left if name.startswith("never")]
    assert [each.status for each in closed] == [CallbackStatus.ENDED] * 3
    known = [each.callback_id for each in read_open(world.store)]
    assert "ended" not in known
    assert "ended-just-now" in known, "the owner of its call may still be asked for"


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("CallbackApi", "callback_api/cancel.json"),
        ("CarrierWebhook", "carrier_webhook/status.json"),
    ],
)
def test_a_throttled_settling_is_queued_and_its_sender_gets_a_response(
    world: World, tmp_path: Path, function: str, name: str
) -> None:
    event = another(EVENTS / name, tmp_path)
    world.seed(event, waiting(dialing(), Step.FIRST))
    with settlings_throttled():
        answer = world.invoke(function, event)
    queue = world.definitions[function].environment["SETTLE_QUEUE_URL"]
    received = world.aws.sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)
    (message,) = received["Messages"]
    world.aws.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])

    assert answer["statusCode"] in (202, 204)
    assert message["Body"] == callback_id(event)


@pytest.mark.parametrize("step", Step)
def test_a_queued_settling_is_done(world: World, tmp_path: Path, step: Step) -> None:
    event = another(EVENTS / "settle_callback/settling.json", tmp_path)
    has_ended = step is Step.SECOND
    status = CallbackStatus.ENDED if has_ended else CallbackStatus.ACCEPTED
    world.seed(event, waiting(replace(over(), status=status), step))

    assert world.invoke("SettleCallback", event) == {"batchItemFailures": []}


def test_a_settling_that_is_throttled_again_stays_in_the_queue(
    world: World, tmp_path: Path
) -> None:
    event = another(EVENTS / "settle_callback/settling.json", tmp_path)
    world.seed(event, waiting(over(), Step.FIRST))
    (record,) = records(event)
    with settlings_throttled():
        answer = world.invoke("SettleCallback", event)

    assert answer == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}


def test_only_the_settling_of_an_unknown_callback_stays_in_the_queue(
    world: World, tmp_path: Path
) -> None:
    event = EVENTS / "settle_callback/settling.json"
    done, nobodys = another(event, tmp_path), another(event, tmp_path)
    world.seed(done, waiting(over(), Step.FIRST))
    batch = [
        record | {"messageId": name}
        for name, each in (("nobody's", nobodys), ("done", done))
        for record in records(each)
    ]
    both = tmp_path / "both.json"
    both.write_text(json.dumps({"Records": batch}), encoding="utf-8")

    assert world.invoke("SettleCallback", both) == {
        "batchItemFailures": [{"itemIdentifier": "nobody's"}]
    }


def test_a_client_requests_an_erasure_and_reads_its_progress(world: World, tmp_path: Path) -> None:
    asked = world.invoke("ErasureApi", EVENTS / "erasure_api/create.json")
    erasure = json.loads(asked["body"])
    listed = world.invoke("ErasureApi", EVENTS / "erasure_api/list.json")
    event = EVENTS / "erasure_api/read.json"
    unknown = world.invoke("ErasureApi", event)
    text = event.read_text(encoding="utf-8")
    erasure_id = json.loads(text)["pathParameters"]["erasure_id"]
    known = tmp_path / "known.json"
    known.write_text(text.replace(erasure_id, erasure["erasure_id"]), encoding="utf-8")
    read = world.invoke("ErasureApi", known)

    assert (asked["statusCode"], erasure["status"]) == (202, "erasing")
    assert asked["headers"]["Location"] == f"/voice/erasure/{erasure['erasure_id']}"
    assert json.loads(listed["body"])["erasures"][0] == erasure
    assert json.loads(read["body"]) == erasure
    assert unknown["statusCode"] == 404


def test_an_erasure_hangs_up_settles_and_deletes_everywhere(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One callback rings. Two have ended, and their executions still wait."""
    monkeypatch.setattr(clock, "now", lambda: A_WHILE_AGO)
    call_sid = world.ring()
    rings = replace(dialing().leg_a, status=LegStatus.QUEUED, call_sid=call_sid)
    gone = {
        "rings": replace(dialing(), leg_a=rings),
        "ended-first": waiting(replace(over(), status=CallbackStatus.ENDED), Step.FIRST),
        "ended-second": waiting(replace(over(), status=CallbackStatus.ENDED), Step.SECOND),
    }
    for name, each in gone.items():
        world.store.add(replace(each, callback_id=name, tenant="leaving"))
    erasures = ErasureStore(world.store.table)
    erasure = erasures.add("leaving", None, None)
    monkeypatch.undo()
    for _ in range(2):  # the second time, what was hung up the first time
        world.invoke("Erase", EVENTS / "erase/tick.json")
    found = erasures.get("leaving", erasure.erasure_id)

    assert (found.callbacks, found.calls) == (3, 1)
    assert found.finished_at is not None
    assert call_sid not in [call.sid for call in world.carrier.calls.list()]
    for name in gone:
        with pytest.raises(CallbackNotFound):
            world.store.get(name)


NUMBER, TEXTER, CALLER = "+14155550100", "+14155550118", "+14155550111"


@pytest.fixture
def number(world: World) -> str:
    """The tenant's number that the events' texts and calls are to."""
    number = TenantNumber(NUMBER, "default", owned=True, sms_to="1000125", missed_call_to="1000125")
    NumberStore(world.store.table).put(number)
    return NUMBER


def text(folder: Path, body: str) -> Path:
    """Another text of the same sender."""
    event = json.loads((EVENTS / "trigger/sms.json").read_text(encoding="utf-8"))
    sid = f"SM{uuid.uuid4().hex}"
    sign.sign(event, sign.form_of(event) | {"Body": body, "MessageSid": sid})
    path = folder / f"{sid}.json"
    path.write_text(json.dumps(event), encoding="utf-8")
    return path


def queued(world: World) -> dict[str, str]:
    """The one message that waits to be accepted, taken out."""
    queue = world.definitions["Trigger"].environment["TRIGGER_QUEUE_URL"]
    received = world.aws.sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)
    (message,) = received["Messages"]
    world.aws.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return {"messageId": message["MessageId"], "body": message["Body"], "eventSource": "aws:sqs"}


def taken(world: World, source: str) -> list[Callback]:
    return [callback for callback in read_open(world.store) if callback.source == source]


def test_a_text_is_answered_once_and_its_sender_is_called_once(world: World, number: str) -> None:
    event = EVENTS / "trigger/sms.json"
    first, again = (world.invoke("Trigger", event) for _ in range(2))
    (callback,) = taken(world, "sms")

    assert "<Message>We are calling you now.</Message>" in first["body"]
    assert again == first
    assert (callback.leg_a.to, callback.leg_b.to) == (TEXTER, "1000125")
    assert {leg.caller_id for leg in callback.legs} == {number}
    assert callback.callback_id in executions(world)


@pytest.mark.parametrize("step", Step)
def test_a_text_cancels_the_callback_in_each_step(
    world: World, tmp_path: Path, number: str, step: Step
) -> None:
    under_way = replace(waiting(dialing(), step), callback_id=str(uuid.uuid4()))
    legs = replace(under_way.leg_a, to=TEXTER), replace(under_way.leg_b, caller_id=number)
    world.store.add(replace(under_way, leg_a=legs[0], leg_b=legs[1], created_at=datetime.now(UTC)))
    with settlings_throttled():
        answer = world.invoke("Trigger", text(tmp_path, "Cancel"))
    world.invoke("Trigger", text(tmp_path, "Cancel"))

    assert "<Message>Your call is canceled.</Message>" in answer["body"]
    canceled = world.store.get(under_way.callback_id)
    assert canceled.close_reason is CloseReason.CANCELED


@pytest.mark.usefixtures("number")
def test_a_sender_of_stop_is_suppressed_until_start(world: World, tmp_path: Path) -> None:
    suppressed = SuppressionList(world.store.table, Given(PEPPER))
    answer = world.invoke("Trigger", text(tmp_path, "STOP"))
    assert "<Message>" not in answer["body"]
    assert suppressed.contains("default", TEXTER)

    answer = world.invoke("Trigger", text(tmp_path, "START"))
    assert "<Message>" in answer["body"]
    assert not suppressed.contains("default", TEXTER)


class Given(Pepper):
    """A pepper that needs no parameter store."""

    def __init__(self, pepper: str) -> None:
        self.pepper = pepper

    def get(self) -> str:
        return self.pepper


def test_a_missed_call_is_rejected_and_then_called_back(
    world: World, tmp_path: Path, number: str
) -> None:
    answer = world.invoke("Trigger", EVENTS / "trigger/call.json")
    before = taken(world, "missed_call")
    record = queued(world)
    event = tmp_path / "waiting.json"
    event.write_text(json.dumps({"Records": [record]}), encoding="utf-8")
    accepted = world.invoke("AcceptTrigger", event)
    (callback,) = taken(world, "missed_call")

    assert '<Reject reason="busy"' in answer["body"]
    assert before == []
    assert record["body"] == f"call_{CALL_SID}"
    assert accepted == {"batchItemFailures": []}
    assert (callback.leg_a.to, callback.leg_b.to) == (CALLER, "1000125")
    assert {leg.caller_id for leg in callback.legs} == {number}


def test_a_repeated_packet_gets_the_response_of_the_first(world: World) -> None:
    first, again = (world.invoke("Trigger", EVENTS / "trigger/packet.json") for _ in range(2))
    (callback,) = taken(world, "packet")

    assert (first["statusCode"], again["statusCode"]) == (202, 202)
    assert json.loads(first["body"]) == {"callback_id": callback.callback_id}
    assert again["body"] == first["body"]
    assert callback.tenant == "default"


def test_a_packet_without_an_id_is_refused_where_one_is_required(
    world: World, tmp_path: Path
) -> None:
    event = json.loads((EVENTS / "trigger/packet.json").read_text(encoding="utf-8"))
    event |= {"body": "a=1000211&b=1000218", "isBase64Encoded": False}
    without = tmp_path / "without.json"
    without.write_text(json.dumps(event), encoding="utf-8")
    answer = world.invoke("Trigger", without, RequireIdempotencyKey="true")

    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["code"] == "idempotency_key_missing"


@pytest.mark.usefixtures("number")
def test_an_event_is_queued_by_its_id_and_becomes_one_callback(world: World) -> None:
    world.invoke("TriggerEvent", EVENTS / "trigger_event/requested.json")
    record = queued(world)
    (waiting_id,) = [each["body"] for each in records(EVENTS / "accept_trigger/waiting.json")]
    answers = [
        world.invoke("AcceptTrigger", EVENTS / "accept_trigger/waiting.json") for _ in range(2)
    ]
    (callback,) = taken(world, "event")

    assert record["body"] == waiting_id
    assert answers == [{"batchItemFailures": []}] * 2
    assert callback.metadata == {"ticket": "42"}


def test_a_packet_without_a_near_departure_waits(world: World, tmp_path: Path) -> None:
    event = changed(
        EVENTS / "trigger/packet.json", tmp_path, body="a=1000255&b=1000256", isBase64Encoded=False
    )
    with departures_are_far_ahead(world):
        assert world.invoke("Trigger", event)["statusCode"] == 202

    assert departing_leg(world) == {"kind": "first"}
    assert end_the_waiting_one(world).source == "packet"


def test_an_event_without_a_near_departure_waits(world: World) -> None:
    (record,) = records(EVENTS / "accept_trigger/waiting.json")
    legs = {"leg_A": {"to": "1000257"}, "leg_B": {"to": "1000258"}}
    body = json.dumps({"tenant": "default", **legs}).encode()
    TriggerStore(world.store.table).put(Trigger("event_waiting_0123456789", Source.EVENT, body))
    event = {"Records": [record | {"body": "event_waiting_0123456789"}]}
    path = world.logs / "accept.json"
    path.write_text(json.dumps(event), encoding="utf-8")
    with departures_are_far_ahead(world):
        assert world.invoke("AcceptTrigger", path) == {"batchItemFailures": []}

    assert departing_leg(world) == {"kind": "first"}
    assert end_the_waiting_one(world).source == "event"


def test_anyone_can_read_the_api_document(world: World) -> None:
    document = world.invoke("ApiDocs", EVENTS / "api_docs/openapi.json")
    page = world.invoke("ApiDocs", EVENTS / "api_docs/docs.json")

    assert document["statusCode"] == page["statusCode"] == 200
    assert json.loads(document["body"])["servers"] == [{"url": f"https://{HOST}"}]
    assert page["body"].startswith("<!doctype html>")


def endpoints_of(world: World) -> EndpointStore:
    """The tenant of the events has an endpoint."""
    store = EndpointStore(world.store.table)
    store.put("default", "https://93.184.216.34/hook", ["callback.accepted", "callback.ended"])
    return store


def deliveries_of(world: World) -> DeliveryStore:
    return DeliveryStore(world.store.table)


def delivery(event: Path, **changes: Any) -> Delivery:
    """The one that the event speaks of, due since a while."""
    given: dict[str, Any] = {
        "tenant": "default",
        "message_id": f"msg_{callback_id(event)}_1",
        "type": "callback.accepted",
        "body": "{}",
        "created_at": A_WHILE_AGO,
        "due_at": A_WHILE_AGO,
        "expires_at": A_WHILE_AGO + timedelta(days=1),
    }
    return Delivery(**given | changes)


def deliveries_queued(world: World, *ids: str) -> list[str]:
    """Each of these ids as often as it is in the queue, which is empty then. What other tests
    have put off by some seconds may be in it, too, by now.
    """
    url = world.definitions["NotifyClient"].environment["DELIVERY_QUEUE_URL"]
    found = []
    while messages := world.aws.sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["MessageGroupId"]
    ).get("Messages"):
        for message in messages:
            assert message["Attributes"]["MessageGroupId"] == "default"
            found.append(json.loads(message["Body"])["message_id"])
            world.aws.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return sorted(each for each in found if each in ids)


def test_writes_of_a_callback_become_deliveries_of_the_selected_events(world: World) -> None:
    event = EVENTS / "publish_events/writes.json"
    endpoints_of(world)
    ids = [f"msg_{callback_id(event)}_{sequence}" for sequence in (1, 4)]
    for _ in range(2):  # the stream may repeat its records
        assert world.invoke("PublishEvents", event) == {"batchItemFailures": []}
    found = [deliveries_of(world).find("default", each) for each in ids]

    assert [each and each.type for each in found] == ["callback.accepted", "callback.ended"]
    assert deliveries_queued(world, *ids) == sorted(ids * 2)


@pytest.mark.parametrize(
    ("status", "becomes", "attempts"),
    [(204, "delivered", 1), (500, "pending", 1), (410, "failed", 1)],
)
def test_a_delivery_is_retried_unless_the_endpoint_accepts_it_or_is_gone(
    world: World, tmp_path: Path, status: int, becomes: str, attempts: int
) -> None:
    event = another(EVENTS / "notify_client/delivery.json", tmp_path)
    endpoints, store = endpoints_of(world), deliveries_of(world)
    store.add(delivery(event))
    answering = f"""
from callback.webhooks.http_sender import Response
handler.sender.post = lambda *_: Response({status}, None)
"""
    assert world.invoke("NotifyClient", event, answering) == {"batchItemFailures": []}
    after = store.find("default", delivery(event).message_id)

    assert after is not None
    assert (after.status, after.attempts) == (becomes, attempts)
    assert (endpoints.get("default").disabled_at is not None) == (status == 410)


def test_a_private_endpoint_receives_nothing(world: World) -> None:
    event = EVENTS / "notify_client/delivery.json"
    endpoints_of(world)
    store = deliveries_of(world)
    store.add(delivery(event, url="https://169.254.169.254/"))
    assert world.invoke("NotifyClient", event) == {"batchItemFailures": []}
    after = store.find("default", delivery(event).message_id)

    assert after is not None
    assert (after.status, after.reason) == ("failed", "address_not_allowed")


RESUME = EVENTS / "resume_deliveries/tick.json"


def test_a_delivery_that_waits_in_the_index_gets_its_message(world: World) -> None:
    event = EVENTS / "notify_client/delivery.json"
    store, pending = deliveries_of(world), delivery(event, message_id="msg_waiting_1")
    store.add(index_from(pending, A_WHILE_AGO))
    world.invoke("ResumeDeliveries", RESUME)
    world.invoke("ResumeDeliveries", RESUME)

    assert deliveries_queued(world, pending.message_id) == [pending.message_id]


def test_what_is_parked_for_an_endpoint_that_is_back_gets_its_message(world: World) -> None:
    event, breaker = EVENTS / "notify_client/delivery.json", BreakerStore(world.store.table)
    store, pending = deliveries_of(world), park(delivery(event, message_id="msg_parked_1"))
    store.add(pending)
    breaker.open(pending.target, Outage("http_500", None, A_WHILE_AGO))
    world.invoke("ResumeDeliveries", RESUME)
    assert deliveries_queued(world, pending.message_id) == [pending.message_id]  # the probe

    breaker.close(pending.target)
    world.invoke("ResumeDeliveries", RESUME)
    assert deliveries_queued(world, pending.message_id) == [pending.message_id]

    # Closed long ago, and nothing is parked any more.
    long_ago = to_text(A_WHILE_AGO)
    change = Expression("SET closed_at = :ago, due_at = :ago", {":ago": long_ago})
    world.store.table.update(breakers.key(pending.target), change)
    world.invoke("ResumeDeliveries", RESUME)
    assert breaker.find(pending.target) is None


def test_what_was_parked_for_too_long_is_listed_as_failed(world: World) -> None:
    event = EVENTS / "notify_client/delivery.json"
    long_ago = A_WHILE_AGO - AGE_LIMIT
    given = {"message_id": "msg_aged_1", "created_at": long_ago, "due_at": long_ago}
    store, pending = deliveries_of(world), park(delivery(event, **given))
    store.add(pending)
    BreakerStore(world.store.table).open(pending.target, Outage("http_500", None, A_WHILE_AGO))
    world.invoke("ResumeDeliveries", RESUME)
    after = store.find("default", pending.message_id)

    assert after is not None
    assert (after.status, after.reason, after.attempts) == ("failed", "http_500", 0)
    BreakerStore(world.store.table).close(pending.target)


def test_a_client_sets_tries_rotates_and_removes_its_endpoint(world: World) -> None:
    def ask(name: str) -> tuple[int, Any]:
        answer = world.invoke("WebhookApi", EVENTS / name)
        return answer["statusCode"], json.loads(answer["body"]) if "body" in answer else None

    with contextlib.suppress(WebhookEndpointNotFound):
        EndpointStore(world.store.table).remove("default")
    made = ask("webhook_api/put.json")
    shown = ask("webhook_api/show.json")
    sample = ask("webhook_api/test.json")

    assert made == (201, shown[1] | {"secret": made[1]["secret"]})
    assert ask("webhook_api/put.json") == shown
    assert sample[0] == 202
    assert deliveries_queued(world, sample[1]["id"]) == [sample[1]["id"]]
    assert ask("webhook_api/rotate.json")[1]["secret"] != made[1]["secret"]
    assert ask("webhook_api/remove.json") == (204, None)
    assert ask("webhook_api/show.json")[0] == 404


def test_a_client_lists_and_replays_failed_deliveries(world: World) -> None:
    event = EVENTS / "webhook_api/replay.json"
    store, pending = deliveries_of(world), delivery(event)
    store.add(pending)
    store.change(pending, mark_failed(pending, "http_500", A_WHILE_AGO))
    listed = world.invoke("WebhookApi", EVENTS / "webhook_api/failed.json")
    again = world.invoke("WebhookApi", event)

    assert pending.message_id in [each["id"] for each in json.loads(listed["body"])["failed"]]
    assert again["statusCode"] == 202
    assert deliveries_queued(world, pending.message_id) == [pending.message_id]


def done_by_lambda(deployed: dict[str, Any]) -> dict[str, set[str]]:
    """What Lambda itself does in a function's name (Lambda Developer Guide, "Execution role",
    "Using Lambda with Amazon SQS", "Using Lambda with Amazon DynamoDB", "Capturing records of
    asynchronous invocations")."""
    functions = document.of_type(deployed, "AWS::Lambda::Function")
    done = {name: {"logs:CreateLogStream", "logs:PutLogEvents"} for name in functions}
    for mapping in document.of_type(deployed, "AWS::Lambda::EventSourceMapping").values():
        of_a_stream = "StartingPosition" in mapping
        done[mapping["FunctionName"]["Ref"]] |= READS_A_STREAM if of_a_stream else READS_A_QUEUE
        if mapping.get("DestinationConfig"):
            done[mapping["FunctionName"]["Ref"]].add("sqs:SendMessage")
    for invocation in document.of_type(deployed, "AWS::Lambda::EventInvokeConfig").values():
        if invocation.get("DestinationConfig"):  # SAM writes an empty one where there is none
            done[invocation["FunctionName"]["Ref"]].add("sqs:SendMessage")
    return done


@pytest.fixture
def granted(deployed: dict[str, Any]) -> dict[str, set[str]]:
    """The actions of each function's own policy."""
    functions = document.of_type(deployed, "AWS::Lambda::Function")
    actions: dict[str, set[str]] = {name: set() for name in functions}
    for role, statement in document.statements(deployed):
        if role.removesuffix("Role") in functions and "Principal" not in statement:
            actions[role.removesuffix("Role")] |= set(document.as_list(statement["Action"]))
    return actions


def test_a_function_may_do_only_what_the_tests_above_used(
    world: World, deployed: dict[str, Any], granted: dict[str, set[str]]
) -> None:
    """Needs every test above. A function needs no action that none of them uses."""
    by_lambda = done_by_lambda(deployed)

    assert granted == {
        name: world.used.get(name, set()) | by_lambda[name] for name in world.definitions
    }
