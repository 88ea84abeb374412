"""A carrier's terms stay in its package. One module chooses it, and use cases know the port."""

import ast
from pathlib import Path

import pytest

import callback

LAYER = Path(callback.__file__).parent
FUNCTIONS = Path(__file__).parents[2] / "functions"
TWILIO = LAYER / "carrier" / "twilio"
CHOICE = LAYER / "carrier" / "adapter.py"
CORE = [
    path
    for path in sorted(LAYER.rglob("*.py"))
    if not path.is_relative_to(TWILIO) and path != CHOICE
]
CLIENT = "callback.carrier.twilio.client"

# Names and values of fields in Twilio's forms.
WORDS = {
    *("AccountSid", "CallSid", "CallStatus", "CallDuration", "SipResponseCode", "Timestamp"),
    *("StatusCallbackEvent", "ParticipantLabel", "StirVerstat", "OptOutType", "MessageSid"),
    *("From", "To", "Body", "initiated", "in-progress", "no-answer"),
    *("participant-join", "conference-start", "TN-Validation-Failed"),
}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def twilio_terms(path):
    """Twilio's modules that this module imports, and the WORDS that it uses."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} & WORDS
    prefixes = ("twilio.", "callback.carrier.twilio.")
    return words | {name for name in imported(tree) if f"{name}.".startswith(prefixes)}


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(LAYER)))
def test_a_module_of_the_core_neither_imports_twilio_nor_uses_its_terms(path):
    assert twilio_terms(path) == set()


def test_the_terms_are_found_in_twilios_package():
    assert {"twilio.rest.Client", "callback.carrier.twilio.twiml"} <= twilio_terms(
        TWILIO / "client.py"
    )
    assert WORDS - twilio_terms(TWILIO / "events.py") == {"AccountSid"}
    assert "AccountSid" in twilio_terms(TWILIO / "signature.py")


def test_the_carrier_is_chosen_in_one_place():
    choosing = {
        path
        for path in [*LAYER.rglob("*.py"), *FUNCTIONS.rglob("*.py")]
        if any(f"{name}.".startswith(f"{CLIENT}.") for name in twilio_terms(path))
    }
    assert choosing == {CHOICE}
    assert twilio_terms(CHOICE) == {f"{CLIENT}.TwilioCarrier"}


def test_only_the_client_imports_twilios_api():
    rest = [
        path.name
        for path in sorted(LAYER.rglob("*.py"))
        if any(
            name.startswith("twilio.rest")
            for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        )
    ]
    assert rest == ["client.py"]
