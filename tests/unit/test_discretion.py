"""An exception tells its kind and its place; its message only where the sentence is ours."""

import ast
import traceback
from pathlib import Path

import pytest

from callback.errors import CallbackEnded
from callback.observability.redaction import REDACTED_MESSAGE, redact_exceptions

HANDLERS = sorted((Path(__file__).parents[2] / "functions").glob("*/handler.py"))


def crash(error):
    def fail(_event, _context):
        try:
            int("+14155550123 is not a number")
        except ValueError as cause:
            raise error from cause

    with pytest.raises(Exception) as caught:  # noqa: PT011  (of any kind)
        redact_exceptions(fail)({}, None)
    return caught.value


def test_the_message_of_a_strange_exception_is_not_told_nor_that_of_its_cause():
    raised = crash(LookupError("+14155550123"))
    told = "".join(traceback.format_exception(raised))
    assert (type(raised).__name__, str(raised)) == ("LookupError", REDACTED_MESSAGE)
    assert "in fail" in told
    assert "5550123" not in told.replace('int("+14155550123 is not a number")', "")
    assert "LookupError(" not in told


def test_our_own_refusals_say_what_they_say():
    raised = crash(CallbackEnded("The callback ended already."))
    assert isinstance(raised, CallbackEnded)
    assert str(raised) == "The callback ended already."
    assert "5550123" not in "".join(traceback.format_exception(raised))


def test_an_answer_is_passed_on():
    assert redact_exceptions(lambda event, context: (event, context))("event", "context") == (
        "event",
        "context",
    )


@pytest.mark.parametrize("path", HANDLERS, ids=lambda path: path.parent.name)
def test_every_functions_handler_is_discreet_and_outermost_so(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (handler,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "handler")
    assert ast.unparse(handler.decorator_list[0]) == "redact_exceptions"
