"""What clients read about a wrong field is a sentence of ours, never one of pydantic's."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core._pydantic_core import list_all_errors

from callback import validation
from callback.errors import InvalidRequest
from callback.requests import schema
from callback.webhooks import schema as webhook_schema
from callback.webhooks.http_sender import PUBLIC

CONTEXT = {"home_region": "US", "sip_domain": "pbx.example.com", "rules": PUBLIC}

MODELS = sorted(
    {
        model
        for module in (schema, webhook_schema)
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, BaseModel) and model is not BaseModel
    },
    key=lambda model: model.__name__,
)

QUERIES = (schema.CreateQuery, schema.ListRequest, webhook_schema.FailedRequest)

# For each field at least one of them is wrong. A query string holds only text.
BAD_VALUES: list[Any] = [
    None,
    True,
    7,
    -(10**30),
    10**30,
    30.5,
    float("inf"),
    "",
    "x" * 3000,
    "0",
    "9" * 5000,
    "é\U0001f600",
    [],
    ["x"],
    [None] * 20,
    ["leg.joined"] * 20,
    {},
    {"": ""},
    {"k": 1},
    {"k": {"k": "v"}},
]

# pydantic's sentences, as patterns.
PYDANTICS = [
    re.compile(re.sub(r"\\\{\w+\\\}", ".*", re.escape(template)), re.DOTALL)
    for each in list_all_errors()
    for template in {each["message_template_python"], each.get("message_template_json")} - {None}
]


def bad_inputs(model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    """Objects that have one wrong field each, at any depth."""
    yield {}
    yield {"unknown": 1}
    for name, field in model.model_fields.items():
        public = field.alias or name
        for value in BAD_VALUES:
            if isinstance(value, str) or model not in QUERIES:
                yield {public: value}
        for inner in models_in(field.annotation):
            yield from ({public: value} for value in bad_inputs(inner))


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    for kind in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield kind


def errors_of(model: type[BaseModel], value: dict[str, Any]) -> list[dict[str, str]]:
    try:
        validation.validate(model, value, CONTEXT)
    except InvalidRequest as refusal:
        errors: list[dict[str, str]] = refusal.members["errors"]
        return errors
    return []


def is_pydantics(message: str) -> bool:
    return any(pattern.fullmatch(message) for pattern in PYDANTICS)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_sentence_is_pydantics(model):
    errors = [error for value in bad_inputs(model) for error in errors_of(model, value)]
    assert {error["field"].partition(".")[0] for error in errors} >= {
        field.alias or name for name, field in model.model_fields.items() if name != "cursor"
    }
    assert {error["message"] for error in errors if is_pydantics(error["message"])} == set()


@pytest.mark.parametrize(
    ("message", "is_it"),
    [
        ("Field required", True),
        ("Extra inputs are not permitted", True),
        ("Input should be greater than or equal to 5", True),
        ("Input should be an object", True),
        ("Input should be a valid dictionary or instance of LegRequest", True),
        ("Value error, ", True),
        ("Unknown field.", False),
        ("Must be an object.", False),
    ],
)
def test_a_sentence_of_pydantics_is_recognized(message, is_it):
    """The test above can fail."""
    assert is_pydantics(message) is is_it


def test_every_type_in_the_table_can_be_raised():
    raised = {
        error["code"]
        for model in MODELS
        for value in bad_inputs(model)
        for error in errors_of(model, value)
    }
    assert set(validation.SENTENCES) - raised == set()


@pytest.mark.parametrize(
    ("field", "value", "code", "message"),
    [
        ("order", "x", "enum", "Must be one of 'sequential', 'reverse' or 'simultaneous'."),
        ("max_duration_seconds", 59, "greater_than_equal", "Must be at least 60."),
        ("max_duration_seconds", 14401, "less_than_equal", "Must be at most 14400."),
        ("max_duration_seconds", "60", "int_type", "Must be a whole number."),
        ("allow_parallel", 1, "bool_type", "Must be true or false."),
        ("metadata", [], "dict_type", "Must be an object."),
        ("leg_A", "x", "model_type", "Must be an object."),
        ("colour", "red", "extra_forbidden", "Unknown field."),
    ],
)
def test_the_sentence_gives_the_bounds_and_the_choices(field, value, code, message):
    errors = errors_of(schema.CallbackRequest, {field: value})
    assert {"field": field, "code": code, "message": message} in errors
    assert {"field": "leg_B", "code": "missing", "message": "Required."} in errors


def test_the_sentence_of_an_unknown_outcome_lists_the_outcomes():
    (error,) = errors_of(schema.ListRequest, {"outcome": "x"})
    assert error["code"] == "enum"
    assert error["message"].startswith("Must be one of 'completed', 'canceled', ")
