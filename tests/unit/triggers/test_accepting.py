"""What waits to be accepted is accepted once, dropped when refused, kept when not understood."""

import json
from types import SimpleNamespace

import pytest

from callback import errors
from callback.admission.rules import Admission
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

ASKED = {"tenant": "acme", "leg_A": {"to": "1000123"}, "leg_B": {"to": "1000125"}}
TRIGGER = "event_6a7e8feb-b491-4cf7-a9f1-bf3703467718"


@pytest.fixture
def stored(client):
    TenantStore(Table(client, "callbacks")).add_tenant("acme")
    return TriggerStore(Table(client, "callbacks"))


@pytest.fixture
def posted(monkeypatch):
    """What reached the API's own create; an error to raise may be set."""
    seen = SimpleNamespace(requests=[], error=None)

    def post(_intake, requested, key):
        seen.requests.append((requested, key))
        if seen.error:
            raise seen.error
        return idempotent.Accepted(callback(), {})

    monkeypatch.setattr(idempotent, "post", post)
    return seen


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


def left(stored, body):
    """A trigger that waits; what the queue was sent."""
    messages = Messages()
    queue = TriggerQueue(stored, lambda: messages, "https://sqs.example/queue")
    queue.put(TRIGGER, Source.EVENT, body, after_seconds=5)
    return messages.sent


def test_the_queue_is_told_the_id_alone_and_only_once_the_row_is_there(stored):
    (message,) = left(stored, ASKED)
    assert message == {
        "QueueUrl": "https://sqs.example/queue",
        "MessageBody": TRIGGER,
        "DelaySeconds": 5,
    }
    assert json.loads(stored.get(TRIGGER).body) == ASKED


def test_it_is_asked_for_as_its_tenant_under_its_own_id_and_forgotten(stored, posted, accept):
    left(stored, ASKED)
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
def test_a_refusal_is_final(stored, posted, accept, error):
    left(stored, ASKED)
    posted.error = error
    accept()
    assert stored.get(TRIGGER) is None


@pytest.mark.parametrize(
    "error",
    [errors.RequestInProgress("Wait."), errors.StoreContended("Again."), RuntimeError("a bug")],
)
def test_what_may_go_better_the_next_time_is_left_for_it(stored, posted, accept, error):
    left(stored, ASKED)
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
        ({**ASKED, "tenant": ""}, errors.InvalidRequest),
        ({**ASKED, "tenant": 7}, errors.InvalidRequest),
        ({**ASKED, "surprise": True}, errors.InvalidRequest),
        ({**ASKED, "leg_B": {"to": "911"}}, errors.InvalidRequest),
        ({**ASKED, "tenant": "nobody"}, NoSuchTenant),
        ({**ASKED, "tenant": "acme#x"}, NoSuchTenant),
        ([], errors.BodyNotJson),
        ({**ASKED, "metadata": {"x": "y" * 20_000}}, errors.BodyTooLarge),
    ],
)
def test_what_is_not_understood_stays_for_a_person_to_see(stored, posted, accept, body, error):
    left(stored, body)
    with pytest.raises(error):
        accept()
    assert posted.requests == []
    assert json.loads(stored.get(TRIGGER).body) == body


@pytest.mark.parametrize("leg", ["leg_A", "leg_B"])
def test_who_said_stop_while_it_waited_is_not_called(stored, posted, accept, leg):
    left(stored, {**ASKED, leg: {"to": "1000999"}})
    accept()
    assert posted.requests == []
    assert stored.get(TRIGGER) is None
