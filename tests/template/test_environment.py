"""Each function is given what it reads, and nothing else."""

import ast
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from callback import settings
from tests.template import document
from tests.template.document import LAYER, ROOT, of_type

FUNCTIONS = (
    "Authorizer",
    "CallbackApi",
    "CarrierWebhook",
    "PlaceLeg",
    "UseDeparture",
    "PlanDepartures",
    "CloseCallback",
    "Reconcile",
    "SettleCallback",
    "Trigger",
    "TriggerEvent",
    "AcceptTrigger",
    "ErasureApi",
    "Erase",
    "ApiDocs",
    "PublishEvents",
    "NotifyClient",
    "ResumeDeliveries",
    "WebhookApi",
)

# Read by libraries: Powertools' logger, and pydantic.
LIBRARIES = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_LOG_LEVEL", "PYDANTIC_DISABLE_PLUGINS"}


def variables(deployed: dict[str, Any], function: str) -> dict[str, Any]:
    functions = of_type(deployed, "AWS::Lambda::Function")
    given: dict[str, Any] = functions[function]["Environment"]["Variables"]
    return given


def handler_of(function: str) -> Path:
    properties = document.source()["Resources"][function]["Properties"]
    return ROOT / properties["CodeUri"] / "handler.py"


def python_files() -> list[Path]:
    return [*LAYER.joinpath("callback").rglob("*.py"), *ROOT.glob("functions/*/*.py")]


def test_these_are_all_functions(deployed: dict[str, Any]) -> None:
    assert set(of_type(deployed, "AWS::Lambda::Function")) == set(FUNCTIONS)
    assert {path.parent for path in ROOT.glob("functions/*/handler.py")} == {
        handler_of(function).parent for function in FUNCTIONS
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_given_the_variables_of_its_settings(
    deployed: dict[str, Any], function: str
) -> None:
    read = {field.name.upper() for field in fields(getattr(settings, function))}

    assert set(variables(deployed, function)) == read | LIBRARIES


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_handler_reads_its_own_settings_and_no_others(function: str) -> None:
    tree = ast.parse(handler_of(function).read_text(encoding="utf-8"))
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "settings"
    }

    assert read == {function}


def test_the_environment_is_read_in_one_place() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in python_files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute | ast.alias)
        and getattr(node, "attr", getattr(node, "name", "")) in ("environ", "getenv")
    }

    assert readers == {"layers/shared/callback/settings.py"}


def test_secrets_travel_by_name(deployed: dict[str, Any]) -> None:
    """No variable has a secret for a name, a dynamic reference or a hidden parameter in it."""
    hidden = {name for name, p in deployed["Parameters"].items() if "NoEcho" in p}

    assert hidden == set()
    for function in FUNCTIONS:
        given = variables(deployed, function)
        assert "{{resolve:" not in json.dumps(given)
        for name in given:
            is_secret = any(
                word in name for word in ("SECRET", "TOKEN", "PASSWORD", "SID", "PEPPER")
            )
            assert not is_secret or name.endswith("_NAME"), name


def test_a_role_may_read_exactly_the_secret_that_is_named(deployed: dict[str, Any]) -> None:
    readable = [
        (role, statement["Resource"]["Fn::Sub"].partition(":parameter")[2])
        for role, statement in document.statements(deployed)
        if any(action.startswith("ssm:") for action in document.as_list(statement["Action"]))
    ]
    told = [
        (f"{function}Role", f"${{{value['Ref']}}}")
        for function in FUNCTIONS
        for name, value in variables(deployed, function).items()
        if name in ("CARRIER_SECRET_NAME", "KEY_PEPPER_NAME")
    ]

    assert sorted(readable) == sorted(told)
    assert ("AuthorizerRole", "${KeyPepperName}") in told
    assert ("AuthorizerRole", "${CarrierSecretName}") not in told
