"""A new field is requested, stored and shown.

See "How to change it" in the package's README. The tests read the fields of each class, so they
cover a new field at once.
"""

from dataclasses import MISSING, fields
from datetime import datetime, timedelta

import pytest

from callback.lifecycle.models import (
    Callback,
    Leg,
    Reservation,
    Waiting,
    Webhook,
    from_record,
    to_record,
    to_text,
)
from callback.requests import creation, views
from callback.requests.schema import CallbackRequest
from callback.storage import callbacks
from callback.storage.table import to_item
from tests.support.fields import changes, full, news

# Fields of a request that are not in the planned callback, with the reason.
NOT_STORED = {
    "allow_parallel": "a condition of the write that stores the callback",
    "start_within_seconds": "stored as the time start_by",
}

# Fields of the record that clients do not see, with the reason.
NOT_SHOWN = {
    "tenant": "the client is the tenant",
    "room": "its name admits calls to it",
    "expires_at": "the same retention for every callback of the deployment",
    "close_reason": "shown as the outcome and its cause",
    "retention_days": "the same retention for every callback of the deployment",
    "waiting_place": "internal to the counter of waiting callbacks",
    "started_at": "internal to reconcile: dialed_at is when it was started",
    "refusal": "shown as the cause",
    "waiting": "a secret of the workflow",
    "reservation": "an upper limit of the cost, not the cost",
    "webhook": "the client chose it",
    "event_count": "each event has its sequence",
    "revision": "internal to conditional writes",
    "leg.unrecognised_status": "for maintenance of the table of statuses",
    "leg.not_before": "internal to the workflow's retries",
    "leg.admitted_at": "joined_at is the carrier's report of the same",
}

# Fields that every row has had from the start.
FROM_THE_START = {
    (Callback, "metadata"),
    (Callback, "status"),
    (Callback, "revision"),
    (Leg, "status"),
    (Leg, "attempt"),
    (Reservation, "released"),
}


def name_of(path):
    """`leg.to` for either leg; otherwise the name of the top-level field."""
    return f"leg.{path[1]}" if path[0] in ("leg_a", "leg_b") else path[0]


def plain(value):
    return to_text(value) if isinstance(value, datetime) else value


def test_every_field_of_every_part_is_covered():
    paths = {path for path, _, _ in changes(full(Callback))}
    parts = {"leg_a": Leg, "leg_b": Leg, "waiting": Waiting, "reservation": Reservation}
    for name, kind in {**parts, "webhook": Webhook}.items():
        assert {path[1] for path in paths if path[0] == name} == {f.name for f in fields(kind)}


def test_a_callback_is_read_as_it_was_stored():
    stored = full(Callback)
    assert from_record(to_record(stored)) == stored


def test_a_callbacks_row_is_read_as_it_was_written():
    """In DynamoDB's typed values, as in the table's stream."""
    written = full(Callback)
    assert callbacks.from_image(to_item(callbacks.row(written))) == written


@pytest.mark.parametrize("kind", [Callback, Leg, Reservation, Waiting, Webhook])
def test_a_row_older_than_a_field_has_its_default(kind):
    """Callbacks in progress during a deployment have such rows."""
    for field in fields(kind):
        default = field.default
        if default is MISSING or (kind, field.name) in FROM_THE_START:
            continue
        record = to_record(full(Callback))
        part = {
            Callback: record,
            Leg: record["leg_a"],
            Reservation: record["reservation"],
            Waiting: record["waiting"],
            Webhook: record["webhook"],
        }[kind]
        del part[field.name]
        read = from_record(record)
        parts = {Callback: read, Leg: read.leg_a, Reservation: read.reservation}
        parts |= {Waiting: read.waiting, Webhook: read.webhook}
        assert getattr(parts[kind], field.name) == default, field.name


def test_every_field_of_a_request_is_in_the_planned_callback():
    def planned(request):
        return to_record(creation.plan("acme", request, timedelta(days=30)))

    complete = full(CallbackRequest)
    missing = {
        name_of(path)
        for path, changed, value in changes(complete)
        if plain(value) not in news(planned(complete), planned(changed))
    }
    assert missing == set(NOT_STORED)


def test_every_stored_field_is_shown_to_clients():
    stored = full(Callback)
    missing = {
        name_of(path)
        for path, changed, value in changes(stored)
        if plain(value) not in news(views.callback_view(stored), views.callback_view(changed))
    }
    assert missing == set(NOT_SHOWN)
