"""The canaries would be noticed: by their looks, by being told of, and by a failing test."""

import logging
import sys

import pytest

from callback.carrier.twilio import client
from tests.local import output_tap
from tests.support import pytest_run
from tests.support.canary import Canaries, listening


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"to":"+14155550123"}', "a number"),
        ("GET /Calls.json?To=%2B442079460000", "a number"),
        ("Unable to call 14155550123.", "a number"),
        ("HTTP 400: the number 1000123 is not valid", "an extension"),
        ("To=sip%3A is fine, sip:alice@pbx is not", "a sip: address"),
        ('{"leg_A": {"to": "x"}, "leg_B": {"to": "y"}}', "a body"),
        ("AccountSid=AC0&CallSid=CA0", "a body"),
    ],
)
def test_what_a_canary_looks_like(text, kind):
    assert Canaries().kinds_in(text) == {kind}


@pytest.mark.parametrize(
    "text",
    [
        '{"timestamp":"2026-11-24 12:00:00,123+0000","took_ms":1000123.5,"code":21211}',
        "6f1c1000-1000-4123-8000-100012300000 CA1000123a1000123b1000123c1000123d",
        # What a UUID, a call's id or a fraction of a second may be, once in a great many.
        "call CA41555123450a9d41555123451f00c and a-41555123450 after 0.4155512345 s",
        "The carrier refused to call leg_A.",
        "sip_486",
    ],
)
def test_what_is_no_canary(text):
    assert Canaries().kinds_in(text) == set()


def test_secrets_are_canaries_once_they_are_known_and_tokens_belong_into_a_history():
    canaries = Canaries()
    canaries.learn("an API key's secret", "open-sesame")
    canaries.learn("a task token", "AQCgAAAA")
    canaries.listen("the history of an execution", "AQCgAAAA")
    assert canaries.forget() == []
    canaries.listen("the log of place-leg", "open-sesame AQCgAAAA")
    assert canaries.forget() == [
        "a task token in the log of place-leg",
        "an API key's secret in the log of place-leg",
    ]
    assert canaries.forget() == []


def test_what_our_modules_log_is_listened_to_with_its_keys_and_exceptions():
    canaries = Canaries()
    record = logging.LogRecord("x", logging.ERROR, client.__file__, 1, "constant", None, None)
    canaries.listen_to_loggers(record)
    assert canaries.forget() == []
    record.party = "alice +14155550123"
    canaries.listen_to_loggers(record)
    assert canaries.forget() == ["a number in the log of a test"]
    try:
        raise ValueError("sip:alice@pbx")
    except ValueError:
        failed = logging.LogRecord("x", 40, client.__file__, 1, "crash", None, sys.exc_info())
    canaries.listen_to_loggers(failed)
    assert canaries.forget() == ["a sip: address in the log of a test"]


def test_who_has_stopped_listening_hears_nothing():
    canaries = Canaries()
    with listening(canaries):
        pass
    output_tap.report_text("the log of nobody", "nothing that the plugin would mind")
    assert canaries.forget() == []


LEAK = """
import pytest
from tests.local import output_tap, logs

@pytest.fixture
def leaking():
    yield
    output_tap.report_text("the history of an execution", "1000123")

def test_that_leaks_in_its_log():
    with logs.collected(), logs.write_as("place-leg"):
        print("calling +14155550123")

def test_that_leaks_at_its_end(leaking):
    pass

def test_that_does_not_leak():
    print("calling +14155550123")
"""


def test_a_test_that_leaks_a_canary_fails_and_names_the_place_but_not_the_canary(tmp_path):
    (tmp_path / "test_leak.py").write_text(LEAK, encoding="utf-8")
    ran = pytest_run.run(
        tmp_path, "-p", "tests.support.canary", "-q", "--tb=line", "--show-capture=no"
    )
    assert ran.returncode == 1
    assert "3 passed, 2 errors" in ran.stdout, ran.stdout
    assert "a number in the log of place-leg" in ran.stdout
    assert "an extension in the history of an execution" in ran.stdout
    assert "test_that_does_not_leak" not in ran.stdout
    assert "5550123" not in ran.stdout
