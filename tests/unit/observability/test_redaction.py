"""An exception shows its class and its place. Only our own exceptions show their message."""

import ast
import traceback
from pathlib import Path

import pytest

from callback.errors import CallbackEnded
from callback.observability.redaction import REDACTED_MESSAGE, redact_exceptions

HANDLERS = sorted((Path(__file__).parents[3] / "functions").glob("*/handler.py"))


def crash(error):
    def fail(_event, _context):
        try:
            int("+14155550123 is not a number")
        except ValueError as cause:
            raise error from cause

    with pytest.raises(Exception) as caught:  # noqa: PT011  (of any kind)
        redact_exceptions(fail)({}, None)
    return caught.value


def test_the_message_of_a_foreign_exception_and_of_its_cause_is_redacted():
    raised = crash(LookupError("+14155550123"))
    text = "".join(traceback.format_exception(raised))
    assert (type(raised).__name__, str(raised)) == ("LookupError", REDACTED_MESSAGE)
    assert "in fail" in text
    assert "5550123" not in text.replace('int("+14155550123 is not a number")', "")
    assert "LookupError(" not in text


def test_our_own_refusals_keep_their_message():
    raised = crash(CallbackEnded("The callback ended already."))
    assert isinstance(raised, CallbackEnded)
    assert str(raised) == "The callback ended already."
    assert "5550123" not in "".join(traceback.format_exception(raised))


def test_a_result_is_passed_on():
    assert redact_exceptions(lambda event, context: (event, context))("event", "context") == (
        "event",
        "context",
    )


@pytest.mark.parametrize("path", HANDLERS, ids=lambda path: path.parent.name)
def test_redaction_is_the_outermost_decorator_of_every_handler(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (handler,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "handler")
    assert ast.unparse(handler.decorator_list[0]) == "redact_exceptions"
