"""One carrier's words stay in its package. Handlers choose it; use cases know the port."""

import ast
from pathlib import Path

import pytest

import callback

LAYER = Path(callback.__file__).parent
ADAPTERS = LAYER / "carrier" / "twilio"
CORE = [path for path in sorted(LAYER.rglob("*.py")) if not path.is_relative_to(ADAPTERS)]

# Fields of Twilio's forms and words in them.
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


def of_twilio(path):
    """What this module imports and says of Twilio's."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} & WORDS
    prefixes = ("twilio.", "callback.carrier.twilio.")
    return words | {name for name in imported(tree) if f"{name}.".startswith(prefixes)}


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(LAYER)))
def test_a_module_of_the_core_neither_imports_nor_speaks_twilio(path):
    assert of_twilio(path) == set()


def test_it_would_be_noticed():
    assert {"twilio.rest.Client", "callback.carrier.twilio.twiml"} <= of_twilio(
        ADAPTERS / "client.py"
    )
    assert WORDS - of_twilio(ADAPTERS / "events.py") == {"AccountSid"}
    assert "AccountSid" in of_twilio(ADAPTERS / "signature.py")


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
