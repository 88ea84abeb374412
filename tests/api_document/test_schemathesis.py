"""The API does what its document says, whatever is sent to it."""

from unittest import mock

import pytest

from callback.requests import views
from tests.api_document import fuzz


def test_every_response_is_described_by_the_document(stack):
    run = fuzz.against(stack.url, stack.key, max_examples=30, seed=20261124)
    assert run.code == 0, run.said
    assert set(run.phases) == set(fuzz.PHASES)
    assert run.cases >= 300
    assert {200, 202, 400, 401, 404, 409} <= set(run.statuses)
    assert max(run.statuses) < 500


def test_an_undescribed_response_is_found(stack):
    """The test above can fail: here the record has a field more."""
    described = views.callback_view

    def changed(callback):
        return {**described(callback), "room": "secret"}

    with mock.patch.object(views, "callback_view", changed):
        run = fuzz.against(stack.url, stack.key, max_examples=1, seed=1, phases=("examples",))
    assert run.code == 1
    assert "room" in run.said


def test_it_is_sent_to_this_machine_only():
    with pytest.raises(ValueError, match="not on this machine"):
        fuzz.against("https://callback.example.com", "key", max_examples=1)
