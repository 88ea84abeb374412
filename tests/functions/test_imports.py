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
    "AWS_DEFAULT_REGION": "us-east-1",
    "PYTHONPATH": str(ROOT / "layers" / "shared"),
    "PATH": os.environ["PATH"],
}
HEAVY = ["twilio.rest", "pydantic", "phonenumbers", "aiohttp", "requests"]


@pytest.mark.parametrize("module", HEAVY)
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
def test_the_path_of_a_webhook_or_a_key_does_not_import(function, doing, module):
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1]);"
        "assert sys.argv[3] in sys.modules;"
        "sys.exit(sys.argv[2] in sys.modules)"
    )
    handler = ROOT / "functions" / function / "handler.py"
    ran = subprocess.run(
        [sys.executable, "-c", code, str(handler), module, doing],
        env=ENVIRONMENT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr or f"{module} is imported"
