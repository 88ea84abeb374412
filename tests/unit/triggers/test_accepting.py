"""A queued trigger is accepted once, deleted if it is refused, and kept if it is invalid."""

import json
from types import SimpleNamespace

import pytest

from callback import errors
from callback.admission.admission import Admission
from callback.api import responses
from callback.lifecycle.models import Source
from callback.numbering.destinations import DialPlan
from callback.requests import idempotent
from callback.requests.intake import Intake
from callback.storage.table import Table
from callback.tenancy.tenants import NoSuchTenant, TenantStore
from callback.triggers.accepting import QueuedTriggers
from callback.triggers.queue import TriggerQueue, TriggerStore
from tests.support.build import callback

REQUEST = {"tenant": "acme", "leg_A": {"to": "1000123"}, "leg_B": {"to": "1000125"}}
TRIGGER = "event_6a7e8feb-b491-4cf7-a9f1-bf3703467718"


@pytest.fixture
def stored(client):
    TenantStore(Table(client, "callbacks")).add_tenant("acme")
    return TriggerStore(Table(client, "callbacks"))


@pytest.fixture
def posted(monkeypatch):
    """Requests that reached the API's create. Its `error`, if set, is raised there."""
    calls = SimpleNamespace(requests=[], error=None)

    def post(_intake, requested, key):
        calls.requests.append((requested, key))
        if calls.error:
            raise calls.error
        return idempotent.Accepted(callback(), {})

    monkeypatch.setattr(idempotent, "post", post)
    return calls


@pytest.fixture
def accept(client, stored):
    admission = Admission(Table(client, "callbacks"), None, DialPlan("US", "pbx.example"))
    intake = Intake(None, None, admission, responses, retention_days=30)
    suppressed = SimpleNamespace(contains=lambda tenant, to: (tenant, to) == ("acme", "1000999"))
    tenants = TenantStore(Table(client, "callbacks"))
    queued = QueuedTriggers(stored, tenants, suppressed, intake)
    return lambda: queued.accept(TRIGGER)


class Messages:
    def __init__(self):
        self.sent = []

    def send_message(self, **message):
        self.sent.append(message)


def enqueue(stored, body):
    """Queue the trigger. Returns the messages that SQS got."""
    messages = Messages()
    queue = TriggerQueue(stored, lambda: messages, "https://sqs.example/queue")
    queue.put(TRIGGER, Source.EVENT, body, after_seconds=5)
    return messages.sent


def test_the_message_contains_only_the_id_and_the_row_contains_the_request(stored):
    (message,) = enqueue(stored, REQUEST)
    assert message == {
        "QueueUrl": "https://sqs.example/queue",
        "MessageBody": TRIGGER,
        "DelaySeconds": 5,
    }
    assert json.loads(stored.get(TRIGGER).body) == REQUEST


def test_a_trigger_is_accepted_once_for_its_tenant_under_its_id_and_then_deleted(
    stored, posted, accept
):
    enqueue(stored, REQUEST)
    accept()
    accept()
    ((requested, key),) = posted.requests
    assert (requested.tenant, requested.source, key.text) == (
        "acme",
        Source.EVENT,
        TRIGGER,
    )
    assert stored.get(TRIGGER) is None


@pytest.mark.parametrize(
    "error",
    [errors.CallbackInProgress("Wait."), errors.IdempotencyKeyReused("Another.")],
)
def test_a_refused_trigger_is_deleted(stored, posted, accept, error):
    enqueue(stored, REQUEST)
    posted.error = error
    accept()
    assert stored.get(TRIGGER) is None


@pytest.mark.parametrize(
    "error",
    [errors.RequestInProgress("Wait."), errors.StoreContended("Again."), RuntimeError("a bug")],
)
def test_a_trigger_stays_for_a_retry_after_an_error_that_may_pass(stored, posted, accept, error):
    enqueue(stored, REQUEST)
    posted.error = error
    with pytest.raises(type(error)):
        accept()
    posted.error = None
    accept()
    assert stored.get(TRIGGER) is None


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, errors.InvalidRequest),
        ({**REQUEST, "tenant": ""}, errors.InvalidRequest),
        ({**REQUEST, "tenant": 7}, errors.InvalidRequest),
        ({**REQUEST, "surprise": True}, errors.InvalidRequest),
        ({**REQUEST, "leg_B": {"to": "911"}}, errors.InvalidRequest),
        ({**REQUEST, "tenant": "nobody"}, NoSuchTenant),
        ({**REQUEST, "tenant": "acme#x"}, NoSuchTenant),
        ([], errors.BodyNotJson),
        ({**REQUEST, "metadata": {"x": "y" * 20_000}}, errors.BodyTooLarge),
    ],
)
def test_an_invalid_trigger_stays_for_the_operator(stored, posted, accept, body, error):
    enqueue(stored, body)
    with pytest.raises(error):
        accept()
    assert posted.requests == []
    assert json.loads(stored.get(TRIGGER).body) == body


@pytest.mark.parametrize("leg", ["leg_A", "leg_B"])
def test_a_trigger_is_deleted_if_a_party_opted_out_while_it_was_queued(stored, posted, accept, leg):
    enqueue(stored, {**REQUEST, leg: {"to": "1000999"}})
    accept()
    assert posted.requests == []
    assert stored.get(TRIGGER) is None
