"""Imports are paid at every cold start, and the webhook's while somebody waits on the line."""

import pytest

from tests.functions.cold_start import FUNCTIONS, start

HEAVY = ["twilio.rest", "pydantic", "phonenumbers", "aiohttp", "requests"]


def assert_not_imported(function, doing, modules):
    """`doing` is a module that the function is known to load: the test looks at the right one."""
    (name,) = (name for name, each in FUNCTIONS.items() if each.folder.name == function)
    loaded = start(name).modules
    assert doing in loaded
    assert not loaded.intersection(modules)


@pytest.mark.parametrize(
    ("function", "doing"),
    [
        ("carrier_webhook", "callback.carrier_events"),
        ("authorizer", "callback.tenants"),
        ("trigger_event", "callback.trigger_queue"),
        ("notify_client", "callback.notifying"),
        ("publish_events", "callback.publishing"),
    ],
)
def test_the_path_of_a_webhook_or_a_key_does_not_import_what_is_heavy(function, doing):
    assert_not_imported(function, doing, HEAVY)
