"""The functions as `sam build` made them answer their events.

Each runs in a process of its own that sees nothing but the built function, the built layer and
the standard library, under exactly its environment. Behind it stand the embedded AWS and the
carrier's simulator.
"""

import base64
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from twilio.rest import Client

from callback import transitions
from callback.models import (
    Callback,
    CallbackStatus,
    CloseReason,
    LegName,
    LegOutcome,
    LegStatus,
    Step,
)
from callback.store import CallbackStore
from events import sign
from tests.local import aws, environment, template
from tests.local.carrier import CarrierSimulator, Clock
from tests.template import document
from tests.unit import build as callbacks

EVENTS = document.ROOT / "events"
HOST = "abcdef1234.execute-api.us-east-1.amazonaws.com"
SIP_DOMAIN = "pbx.example.com"
CALL_SID = "CA0123456789abcdef0123456789abcdef"
SERVICES = {
    "AWSStepFunctions": "states",
    "AmazonSQS": "sqs",
    "AmazonSSM": "ssm",
    "DynamoDB_20120810": "dynamodb",
}
# These run by the clock on the wall, unlike the callbacks of the unit tests.
A_WHILE_AGO = datetime.now(UTC) - timedelta(minutes=5)
TOKEN = "not the token of a task that still runs"

# -I and -S: no variable, no folder and no site-packages of this machine finds its way in.
RUN = """
import json, sys
function, layer, event = sys.argv[1:]
sys.path[:0] = [function, layer]
class Context:
    function_name = memory_limit_in_mb = invoked_function_arn = aws_request_id = "test"
import handler
answer = handler.handler(json.load(open(event)), Context())
strangers = sorted(
    name for name, module in sys.modules.items()
    if (path := getattr(module, "__file__", None) or "") and "site-packages" in path
)
print(json.dumps({"answer": answer, "strangers": strangers}))
"""


@dataclass
class World:
    """What stands behind the functions, and what they asked of it."""

    aws: aws.EmbeddedAws
    store: CallbackStore
    carrier: Client
    definitions: dict[str, template.FunctionDefinition]
    build: Path
    used: dict[str, set[str]] = field(default_factory=dict)

    def invoke(self, function: str, event: Path) -> Any:
        """The handler's answer to an event."""
        definition = self.definitions[function]
        done = subprocess.run(
            [
                *(sys.executable, "-I", "-S", "-c", RUN),
                *(str(self.build / function), str(self.build / "SharedLayer" / "python")),
                str(event),
            ],
            # The key tells the embedded AWS who asks.
            env=environment.of_function(definition, self.aws.url) | {"AWS_ACCESS_KEY_ID": function},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        said = json.loads(done.stdout.splitlines()[-1])
        assert said["strangers"] == []
        return said["answer"]

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
    """The same event about another callback; not for signed events."""
    copy = folder / event.name
    text = event.read_text(encoding="utf-8")
    copy.write_text(
        text.replace(callback_id(event), f"1b1f6a0e-{str(uuid.uuid4())[9:]}"), encoding="utf-8"
    )
    return copy


def callback_id(event: Path) -> str:
    (found,) = set(re.findall(r"1b1f6a0e-[0-9a-f-]{27}", event.read_text(encoding="utf-8")))
    return str(found)


class Recorder(aws.DomainDispatcherApplication):
    """moto's application, noting which action each function asked for."""

    used: dict[str, set[str]]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        signed = re.search(r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        prefix, _, action = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
        if signed and action:
            # A transaction of puts needs the permission to put, and has none of its own.
            action = "PutItem" if action == "TransactWriteItems" else action
            self.used.setdefault(signed[1], set()).add(f"{SERVICES[prefix]}:{action}")
        return super().__call__(environ, start_response)


@pytest.fixture(scope="module")
def world(build: Path) -> Iterator[World]:
    carrier = CarrierSimulator(sign.ACCOUNT_SID, sign.TOKEN, clock=Clock(1.0), port=0)
    carrier.start()
    parameters = {
        "CarrierApiUrl": carrier.url,
        "PublicUrl": f"https://{HOST}",
        "SipDomain": SIP_DOMAIN,
    }
    resources = template.load(document.TEMPLATE, parameters)
    Recorder.used = {}
    secret = {"account_sid": sign.ACCOUNT_SID, "auth_token": sign.TOKEN}
    try:
        with (
            mock.patch.object(aws, "DomainDispatcherApplication", Recorder),
            aws.running() as cloud,
        ):
            # Executions are started and never run: the workflow here has nothing to do.
            (workflow,) = resources.workflows
            idle = {
                "StartAt": "Rest",
                "States": {"Rest": {"Type": "Wait", "Seconds": 1, "End": True}},
            }
            idle_workflow = replace(workflow, definition=json.dumps(idle))
            cloud.create(
                replace(resources, workflows=(idle_workflow,)), {"/voice-callback/carrier": secret}
            )
            client = Client(sign.ACCOUNT_SID, sign.TOKEN)
            client.api.base_url = carrier.url
            yield World(
                aws=cloud,
                store=CallbackStore(cloud.dynamodb, resources.tables[0]["TableName"]),
                carrier=client,
                definitions={f.logical_id: f for f in resources.functions},
                build=build,
                used=Recorder.used,
            )
    finally:
        carrier.stop()


def planned() -> Callback:
    return callbacks.callback(created_at=A_WHILE_AGO)


def waiting(before: Callback, step: Step) -> Callback:
    return callbacks.allowed(transitions.wait(before, step, TOKEN))


def dialing() -> Callback:
    """Leg A is being called; the carrier has not said yet which call that is."""
    return callbacks.allowed(transitions.claim(planned(), LegName.A, A_WHILE_AGO))


def over() -> Callback:
    return replace(planned(), close_reason=CloseReason.CANCELED)


def test_every_event_is_answered_by_a_test() -> None:
    """A test below names each of them."""
    named = set(re.findall(r'"((?:\w+)/(?:\w+)\.json)"', Path(__file__).read_text("utf-8")))

    assert {path.relative_to(EVENTS).as_posix() for path in EVENTS.rglob("*.json")} == named


@pytest.mark.parametrize(
    "path", sorted(EVENTS.glob("carrier_webhook/*.json")), ids=lambda path: path.stem
)
def test_a_webhooks_signature_stands_the_documented_token(path: Path) -> None:
    event = json.loads(path.read_text(encoding="utf-8"))
    if event["requestContext"]["http"]["method"] == "GET":
        assert "x-twilio-signature" not in event["headers"]  # the ringback is for everybody
        return
    again = json.loads(json.dumps(event))
    sign.sign(again, sign.form_of(event))

    assert again == event
    assert sign.form_of(event)["AccountSid"] == sign.ACCOUNT_SID
    assert sign.url_of(event).startswith(f"https://{HOST}/carrier/")


def test_a_client_creates_a_callback(world: World) -> None:
    answer = world.invoke("CallbackApi", EVENTS / "callback_api/create.json")
    body = json.loads(answer["body"])

    assert answer["statusCode"] == 202
    assert answer["headers"]["Location"] == f"/voice/call/callback/{body['callback_id']}"
    assert body["leg_A"]["to"] == "1000123"
    assert body["leg_A"]["status"] == "queued"
    assert body["leg_B"]["status"] == "planned"
    assert [call.sid for call in world.calls_to("1000123")] == [body["leg_A"]["call_sid"]]
    (machine,) = world.aws.stepfunctions.list_state_machines()["stateMachines"]
    executions = world.aws.stepfunctions.list_executions(
        stateMachineArn=machine["stateMachineArn"]
    )["executions"]
    assert [execution["name"] for execution in executions] == [body["callback_id"]]


def test_a_client_who_repeats_a_request_gets_the_first_answer(world: World) -> None:
    event = EVENTS / "callback_api/create_once.json"
    first, again = (world.invoke("CallbackApi", event) for _ in range(2))

    assert first["statusCode"] == 202
    assert again["headers"].pop("Idempotent-Replayed") == "true"
    assert again == first
    assert len(world.calls_to("1000201")) == 1


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


def test_a_party_in_the_room_is_joined(world: World) -> None:
    event = EVENTS / "carrier_webhook/conference.json"
    world.seed(event, waiting(dialing(), Step.FIRST))
    answer = world.invoke("CarrierWebhook", event)

    assert answer["statusCode"] == 204
    assert world.store.get(callback_id(event)).leg_a.status is LegStatus.JOINED


def test_who_waits_hears_the_ringback(world: World) -> None:
    answer = world.invoke("CarrierWebhook", EVENTS / "carrier_webhook/wait.json")

    assert answer["statusCode"] == 200
    assert f">https://{HOST}/carrier/ringback.wav</Play>" in answer["body"]


def test_who_cannot_be_helped_hears_so(world: World) -> None:
    answer = world.invoke("CarrierWebhook", EVENTS / "carrier_webhook/fallback.json")

    assert answer["statusCode"] == 200
    assert "<Say>" in answer["body"]


def test_the_ringback_is_audio(world: World) -> None:
    answer = world.invoke("CarrierWebhook", EVENTS / "carrier_webhook/ringback.json")

    assert answer["headers"]["Content-Type"] == "audio/wav"
    assert answer["isBase64Encoded"] is True
    assert base64.b64decode(answer["body"]).startswith(b"RIFF")


def test_a_webhook_that_somebody_changed_is_refused(world: World, tmp_path: Path) -> None:
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


def test_reconcile_mends_what_was_left_and_forgets_what_has_ended(world: World) -> None:
    """One callback never got its workflow, one was never closed, two were never woken."""
    rings = replace(dialing().leg_a, status=LegStatus.QUEUED, call_sid=world.ring())
    left = {
        "without-workflow": planned(),
        "never-closed": replace(over(), leg_a=rings),
        "never-woken-first": waiting(over(), Step.FIRST),
        "never-woken-second": waiting(over(), Step.SECOND),
        "ended": replace(over(), status=CallbackStatus.ENDED),
    }
    for name, each in left.items():
        world.store.add(replace(each, callback_id=name))
    world.invoke("Reconcile", EVENTS / "reconcile/tick.json")

    assert "without-workflow" in executions(world)
    closed = [world.store.get(name) for name in left if name.startswith("never")]
    assert [each.status for each in closed] == [CallbackStatus.ENDED] * 3
    assert "ended" not in [each.callback_id for each in world.store.open()]


@pytest.mark.parametrize("step", Step)
def test_a_settling_from_the_queue_is_done(world: World, tmp_path: Path, step: Step) -> None:
    event = another(EVENTS / "settle_callback/settling.json", tmp_path)
    world.seed(event, waiting(over(), step))

    assert world.invoke("SettleCallback", event) == {"batchItemFailures": []}


def test_a_settling_of_nobodys_callback_stays_in_the_queue(world: World, tmp_path: Path) -> None:
    event = another(EVENTS / "settle_callback/settling.json", tmp_path)
    (record,) = json.loads(event.read_text(encoding="utf-8"))["Records"]

    assert world.invoke("SettleCallback", event) == {
        "batchItemFailures": [{"itemIdentifier": record["messageId"]}]
    }


def test_everybody_reads_what_the_api_is(world: World) -> None:
    document = world.invoke("ApiDocs", EVENTS / "api_docs/openapi.json")
    page = world.invoke("ApiDocs", EVENTS / "api_docs/docs.json")

    assert document["statusCode"] == page["statusCode"] == 200
    assert json.loads(document["body"])["servers"] == [{"url": f"https://{HOST}"}]
    assert page["body"].startswith("<!doctype html>")


@pytest.fixture
def granted(deployed: dict[str, Any]) -> dict[str, set[str]]:
    """The actions of each function's own policy, on callbacks, executions and secrets.

    Not on queues: the embedded AWS never throttles, so nobody puts a settling there.
    """
    services = ("dynamodb:", "states:", "ssm:")
    actions: dict[str, set[str]] = {}
    for name, statement in document.statements(deployed):
        if name.removesuffix("Role") in document.of_type(deployed, "AWS::Lambda::Function"):
            asked = actions.setdefault(name.removesuffix("Role"), set())
            asked |= {
                action
                for action in document.as_list(statement["Action"])
                if action.startswith(services)
            }
    return actions


def test_a_function_may_do_what_it_did_above_and_nothing_else(
    world: World, granted: dict[str, set[str]]
) -> None:
    """Needs every test above: what none of them does, no function needs."""
    used = {name: world.used.get(name, set()) for name in world.definitions}

    assert used == granted
