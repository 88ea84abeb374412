"""Imports are paid at every cold start, and the webhook's while somebody waits on the line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "TABLE_NAME": "callbacks",
    "CARRIER_SECRET_NAME": "/carrier",
    "KEY_PEPPER_NAME": "/pepper",
    "PUBLIC_URL": "https://callback.example.com",
    "TRIGGER_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/1/trigger",
    "SETTLE_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/1/settle",
    "DELIVERY_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/1/deliveries",
    "EVENT_BUS_NAME": "events",
    "SIP_DOMAIN": "pbx.example.com",
    "CARRIER_API_URL": "https://carrier.example.com",
    "STATE_MACHINE_ARN": "arn:aws:states:us-east-1:1:stateMachine:callback",
    "AWS_DEFAULT_REGION": "us-east-1",
    "PYTHONPATH": str(ROOT / "layers" / "shared"),
    "PATH": os.environ["PATH"],
}
HEAVY = ["twilio.rest", "pydantic", "phonenumbers", "aiohttp", "requests"]
POLICIES = ["callback.tenancy.policy", "callback.tenancy.tenants", "zoneinfo"]


def assert_not_imported(function, doing, modules):
    """`doing` is a module that the function is known to load: the test looks at the right one."""
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1]);"
        "assert sys.argv[2] in sys.modules;"
        "print(*(module for module in sys.argv[3:] if module in sys.modules))"
    )
    handler = ROOT / "functions" / function / "handler.py"
    ran = subprocess.run(
        [sys.executable, "-c", code, str(handler), doing, *modules],
        env=ENVIRONMENT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []


@pytest.mark.parametrize(
    ("function", "doing"),
    [
        ("carrier_webhook", "callback.call_control.progress"),
        ("authorizer", "callback.tenancy.tenants"),
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
