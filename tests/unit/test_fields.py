"""A new field is everywhere it belongs: stored, asked for, shown.

See "How to change it" in the package's README.

What is tried is made from the fields themselves, so a field that is added is tried by itself.
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
from tests.unit.fields import changes, full, news

# Of a request, what is not in the callback that is planned, and why.
NOT_STORED = {"allow_parallel": "a condition of the write that stores it"}

# Of the record, what clients are not shown, and why.
NOT_SHOWN = {
    "tenant": "whoever asks is the tenant",
    "room": "who knows its name could join it",
    "expires_at": "kept for as long as the deployment keeps any",
    "close_reason": "told as the outcome and its cause",
    "waiting": "a secret of the workflow's",
    "reservation": "what may be spent, not what was",
    "webhook": "whoever is told there knows where",
    "event_count": "told by each event, as its sequence",
    "revision": "how the store sees who wrote first",
    "leg.unrecognised_status": "a word of the carrier's, for who mends the table",
    "leg.not_before": "when the workflow may ask the carrier again",
    "leg.admitted_at": "ours; joined_at is the carrier's word of the same",
}

# Which were in the very first row: no row is without them.
FROM_THE_START = {
    (Callback, "metadata"),
    (Callback, "status"),
    (Callback, "revision"),
    (Leg, "status"),
    (Leg, "attempt"),
    (Reservation, "released"),
}


def name_of(path):
    """`leg.to` of either leg; of what else is made of parts, the whole."""
    return f"leg.{path[1]}" if path[0] in ("leg_a", "leg_b") else path[0]


def plain(value):
    return to_text(value) if isinstance(value, datetime) else value


def test_every_field_of_every_part_is_tried_here():
    paths = {path for path, _, _ in changes(full(Callback))}
    parts = {"leg_a": Leg, "leg_b": Leg, "waiting": Waiting, "reservation": Reservation}
    for name, kind in {**parts, "webhook": Webhook}.items():
        assert {path[1] for path in paths if path[0] == name} == {f.name for f in fields(kind)}


def test_a_callback_is_read_as_it_was_stored():
    stored = full(Callback)
    assert from_record(to_record(stored)) == stored


def test_a_callbacks_row_is_read_as_it_was_written():
    """As DynamoDB has it, and tells it in the table's stream."""
    written = full(Callback)
    assert callbacks.from_image(to_item(callbacks.row(written))) == written


@pytest.mark.parametrize("kind", [Callback, Leg, Reservation, Waiting, Webhook])
def test_a_row_from_before_there_was_a_field_has_its_default(kind):
    """Callbacks that are under way while a new version is deployed have such rows."""
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
        of = {Callback: read, Leg: read.leg_a, Reservation: read.reservation}
        of |= {Waiting: read.waiting, Webhook: read.webhook}
        assert getattr(of[kind], field.name) == default, field.name


def test_everything_that_is_asked_for_is_in_the_callback_that_is_planned():
    def planned(request):
        return to_record(creation.plan("acme", request, timedelta(days=30)))

    asked = full(CallbackRequest)
    missing = {
        name_of(path)
        for path, changed, value in changes(asked)
        if plain(value) not in news(planned(asked), planned(changed))
    }
    assert missing == set(NOT_STORED)


def test_everything_that_is_stored_is_shown_to_clients():
    stored = full(Callback)
    missing = {
        name_of(path)
        for path, changed, value in changes(stored)
        if plain(value) not in news(views.callback_view(stored), views.callback_view(changed))
    }
    assert missing == set(NOT_SHOWN)
