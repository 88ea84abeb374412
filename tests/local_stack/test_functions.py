"""Handlers run here as they run in Lambda: environment, context, errors."""

import json
import os
import sys
import textwrap
from pathlib import Path

import pytest

from tests.local import functions, logs
from tests.local.template import FunctionDefinition
from tests.local_stack.conftest import definition_of

AWS_URL = "http://127.0.0.1:1"


def written(folder: Path, source: str, name: str = "act", **changes) -> FunctionDefinition:
    home = folder / name
    home.mkdir()
    (home / "handler.py").write_text(textwrap.dedent(source))
    return definition_of(name, folder=home, **changes)


def invoked(definition: FunctionDefinition, event: object = None) -> functions.Invocation:
    with functions.loaded([definition], AWS_URL) as loaded:
        return loaded.invoke(definition.arn, json.dumps(event).encode())


def test_a_handler_is_loaded_with_its_own_variables_and_lambdas(tmp_path, monkeypatch):
    monkeypatch.setenv("SOMETHING_OF_THE_SHELL", "1")
    definition = written(
        tmp_path,
        """
        import os
        SEEN = dict(os.environ)
        def handler(event, context):
            return SEEN
        """,
        environment={"TABLE_NAME": "things"},
        log_level="INFO",
    )
    seen = json.loads(invoked(definition).payload)
    assert seen["TABLE_NAME"] == "things"
    assert seen["AWS_LAMBDA_FUNCTION_NAME"] == "act"
    assert seen["AWS_ENDPOINT_URL"] == AWS_URL
    assert seen["AWS_LAMBDA_LOG_LEVEL"] == "INFO"
    assert "SOMETHING_OF_THE_SHELL" not in seen
    assert os.environ["SOMETHING_OF_THE_SHELL"] == "1"


def test_a_variable_the_template_does_not_give_fails_by_name(tmp_path):
    definition = written(tmp_path, "import os\nTABLE = os.environ['TABLE_NAME']\n")
    with (
        pytest.raises(functions.LoadError, match=r"Act cannot be loaded.*TABLE_NAME"),
        functions.loaded([definition], AWS_URL),
    ):
        pass


def test_a_function_without_a_file_cannot_be_loaded(tmp_path):
    with (
        pytest.raises(functions.LoadError, match="there is no"),
        functions.loaded([definition_of("act", folder=tmp_path)], AWS_URL),
    ):
        pass


def test_two_functions_with_a_handler_each_do_not_share_a_module(tmp_path):
    source = (
        "CALLS = []\ndef handler(event, context):\n    CALLS.append(1)\n    return len(CALLS)\n"
    )
    one, two = (written(tmp_path, source, name) for name in ("one", "two"))
    with functions.loaded([one, two], AWS_URL) as loaded:
        results = [loaded.invoke(name, b"{}").payload for name in ("one", "one", "two")]
        assert results == [b"1", b"2", b"1"]
        assert loaded.invocations == {"One": 2, "Two": 1}
    assert not [name for name in sys.modules if name.endswith("_One")]


def test_the_context_is_lambdas(tmp_path):
    definition = written(
        tmp_path,
        """
        def handler(event, context):
            return [context.function_name, context.memory_limit_in_mb, context.function_version,
                    context.invoked_function_arn, len(context.aws_request_id),
                    0 < context.get_remaining_time_in_millis() <= 3000]
        """,
    )
    assert json.loads(invoked(definition).payload) == [
        "act",
        "128",
        "$LATEST",
        "arn:aws:lambda:us-east-1:123456789012:function:act",
        36,
        True,
    ]


def test_an_exception_becomes_lambdas_error_document(tmp_path):
    definition = written(
        tmp_path,
        """
        class Broken(Exception):
            pass
        def handler(event, context):
            raise Broken("by hand")
        """,
    )
    invocation = invoked(definition)
    document = json.loads(invocation.payload)
    assert invocation.error == "Unhandled"
    assert (document["errorType"], document["errorMessage"]) == ("Broken", "by hand")
    assert len(document["stackTrace"]) == 1
    assert 'raise Broken("by hand")' in document["stackTrace"][0]


def test_an_answer_that_is_not_json_is_an_error(tmp_path):
    definition = written(tmp_path, "def handler(event, context):\n    return {1, 2}\n")
    invocation = invoked(definition)
    assert invocation.error == "Unhandled"
    assert json.loads(invocation.payload)["errorType"] == "Runtime.MarshalError"


def test_what_a_function_prints_is_in_its_log_and_nowhere_else(tmp_path, capsys):
    definition = written(
        tmp_path, "def handler(event, context):\n    print('of the function')\n    return 1\n"
    )
    with logs.collected() as lines:
        invoked(definition)
        print("of the test")
    assert list(lines) == [logs.Line("act", "of the function")]
    assert capsys.readouterr().out == "of the test\n"


def test_an_unknown_function_is_refused():
    with (
        functions.loaded([], AWS_URL) as loaded,
        pytest.raises(functions.UnknownFunction),
    ):
        loaded.invoke("nobody", b"{}")
