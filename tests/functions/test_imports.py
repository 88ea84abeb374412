"""Imports are paid at every cold start, and the webhook's while somebody waits on the line."""

import pytest

from tests.functions.cold_start import FUNCTIONS, start

HEAVY = [
    "twilio.rest",
    "pydantic",
    "phonenumbers",
    "aiohttp",
    "requests",
    "aws_lambda_powertools.utilities.parameters",
]
CARRIERS_API = ["twilio.rest", "requests", "callback.carrier.twilio.client"]
POLICIES = [
    "callback.tenancy.api_keys",
    "callback.tenancy.pepper",
    "callback.tenancy.policy",
    "callback.tenancy.policy_store",
    "callback.tenancy.policy_text",
    "callback.tenancy.tenants",
    "zoneinfo",
]
TYPES = [
    "callback.lifecycle.payloads",
    "callback.privacy.record",
    "callback.requests.record",
    "callback.values",
    "callback.webhooks.record",
]


def assert_not_imported(function, doing, modules):
    """`doing` is a module that the function is known to load: the test looks at the right one."""
    (name,) = (name for name, each in FUNCTIONS.items() if each.folder.name == function)
    loaded = start(name).modules
    assert doing in loaded
    assert not loaded.intersection(modules)


@pytest.mark.parametrize(
    ("function", "doing"),
    [
        ("carrier_webhook", "callback.call_control.progress"),
        ("authorizer", "callback.tenancy.api_keys"),
        ("trigger_event", "callback.triggers.queue"),
        ("notify_client", "callback.webhooks.notifying"),
        ("publish_events", "callback.webhooks.publishing"),
    ],
)
def test_the_path_of_a_webhook_or_a_key_does_not_import_what_is_heavy(function, doing):
    assert_not_imported(function, doing, HEAVY)


@pytest.mark.parametrize(
    ("function", "doing"),
    [
        ("callback_api", "callback.requests.lookup"),
        ("close_callback", "callback.call_control.dialing"),
        ("erase", "callback.privacy.erasing"),
        ("reconcile", "callback.call_control.reconcile"),
        ("trigger", "callback.triggers.sms"),
    ],
)
def test_a_function_that_may_send_the_carrier_nothing_does_not_import_its_api(function, doing):
    assert_not_imported(function, doing, CARRIERS_API)


def test_reading_and_canceling_a_callback_import_no_request_models():
    assert_not_imported(
        "callback_api", "callback.requests.cancellation", ["pydantic", "callback.requests.schema"]
    )


@pytest.mark.parametrize(
    ("function", "doing"),
    [
        ("carrier_webhook", "callback.call_control.progress"),
        ("close_callback", "callback.call_control.dialing"),
        ("erase", "callback.privacy.erasing"),
        ("notify_client", "callback.webhooks.notifying"),
        ("publish_events", "callback.webhooks.publishing"),
        ("reconcile", "callback.call_control.reconcile"),
        ("settle_callback", "callback.call_control.workflow"),
    ],
)
def test_a_function_that_decides_about_no_call_does_not_import_policies(function, doing):
    assert_not_imported(function, doing, POLICIES)


@pytest.mark.parametrize(
    ("function", "doing"),
    [
        ("callback_api", "callback.requests.views"),
        ("erasure_api", "callback.privacy.views"),
        ("publish_events", "callback.lifecycle.events"),
        ("webhook_api", "callback.webhooks.management"),
    ],
)
def test_only_the_documents_function_imports_the_types_of_responses(function, doing):
    assert_not_imported(function, doing, TYPES)
