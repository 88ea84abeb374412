"""Every route carries out a request exactly as it was sent, or refuses all of it."""

import copy
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import requests
from pydantic import BaseModel

from callback.api import openapi
from callback.requests import schema
from callback.webhooks import schema as webhook_schema
from tests.local.stack import LocalStack
from tests.support.client import PATH, SEED, Client, between
from tests.support.observer import Observer

PACKET, ERASURE, ENDPOINT = "/voice/trigger/packet", "/voice/erasure", "/voice/webhook/endpoint"
URL = "https://client.example/hook"
# Each route that takes JSON: its method, its model and a body that it accepts.
ROUTES: dict[str, tuple[str, type[BaseModel], dict[str, Any]]] = {
    PATH: (
        "POST",
        schema.CallbackRequest,
        {
            "leg_A": {"to": "1000203"},
            "leg_B": {"to": "1000218"},
            "webhook": {"url": URL, "events": ["callback.ended"]},
            "metadata": {"ticket": "42"},
        },
    ),
    PACKET: ("POST", schema.PacketRequest, {"a": "1000203", "b": "1000218"}),
    ERASURE: ("POST", schema.ErasureRequest, {"number": "+14155550118"}),
    ENDPOINT: ("PUT", webhook_schema.EndpointRequest, {"url": URL}),
}


class FullKey:
    """A key with every scope, and the requests sent with it."""

    def __init__(self, stack: LocalStack, tenant: str) -> None:
        self._url = stack.url
        scopes = ("callbacks:read", "callbacks:write", "callbacks:erase")
        self._bearer = {"Authorization": f"Bearer {stack.make_key(tenant, *scopes)}"}

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {**self._bearer, **options.pop("headers", {})}
        return requests.request(method, self._url + path, headers=headers, **options)

    def send(self, route: str, **options: Any) -> requests.Response:
        return self.ask(ROUTES[route][0], route, **options)


@pytest.fixture
def key(running: LocalStack, tenant: str) -> FullKey:
    return FullKey(running, tenant)


@pytest.fixture
def nothing_is_done(key: FullKey, stack: Observer, one: Client) -> Iterator[None]:  # noqa: ARG001
    calls, stored = len(stack.calls()), stack.rows()
    yield
    assert len(stack.calls()) == calls
    # Callbacks of other tests may end meanwhile and leave a list.
    assert stack.rows() <= stored
    assert one.list().json()["callbacks"] == []


def errors_of(answer: requests.Response) -> dict[str, str]:
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.text
    return {error["field"]: error["code"] for error in answer.json()["errors"]}


def internal_names(model: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all fields that have another name in the code than for clients."""
    for name, field in model.model_fields.items():
        public = field.alias or name
        if name != public:
            yield (*at, name)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from internal_names(kind, (*at, public))


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize(
    ("route", "path"),
    [(route, path) for route in ROUTES for path in internal_names(ROUTES[route][1])],
)
def test_the_internal_name_of_a_field_is_refused_and_not_ignored(key, route, path):
    body = copy.deepcopy(ROUTES[route][2])
    place = body
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = "+14155550199" if len(path) > 1 else {"to": "1000201"}
    field = ".".join(path)
    assert errors_of(key.send(route, json=body)) == {field: "extra_forbidden"}


def test_some_fields_have_an_internal_name():
    assert set(internal_names(schema.CallbackRequest)) >= {("leg_a",), ("leg_A", "caller_id")}


# -- a field sent twice ----------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        (
            PATH,
            '{"leg_A": {"to": "1000203"}, "leg_B": {"to": "1000218", "to": "1000201"}}',
            "leg_B.to",
        ),
        (
            PATH,
            '{"leg_A": {"to": "1000203"}, "leg_B": {"to": "1000218"}, "leg_B": {"to": "1000201"}}',
            "leg_B",
        ),
        (
            PATH,
            r'{"leg_A": {"to": "1000203"}, "leg_B": {"to": "1000218"}, "leg\u005fB": {}}',
            "leg_B",
        ),
        (
            PATH,
            '{"leg_A": {"to": "1000203"}, "leg_B": {}, "metadata": {"k": "1", "k": "1"}}',
            "metadata.k",
        ),
        (PACKET, '{"a": "1000203", "b": "1000218", "b": "1000201"}', "b"),
        (PACKET, "a=1000203&b=1000218&b=1000201", "b"),
        (PACKET, "a=1000203&b=1000218&%62=1000201", "b"),
        (ERASURE, '{"number": "+14155550118", "number": "+14155550119"}', "number"),
        (ENDPOINT, f'{{"url": "{URL}", "url": "{URL}/elsewhere"}}', "url"),
    ],
)
def test_a_duplicate_field_is_refused(key, route, body, field):
    assert errors_of(key.send(route, data=body)) == {field: "repeated_field"}


def test_the_same_field_name_in_two_objects_is_not_a_duplicate(key):
    body = ROUTES[PATH][2] | {
        "webhook": None,
        "metadata": {"to": "1", "from": "2", "metadata": "3"},
    }
    accepted = key.send(PATH, json=body)
    assert accepted.status_code == 202, accepted.text
    key.ask("DELETE", accepted.headers["Location"])


# -- unknown parameters ----------------------------------------------------------------------------


def without_parameters() -> list[tuple[str, str]]:
    """Every operation that takes no query parameter, by the OpenAPI document."""
    paths = openapi.build_document("https://a.example", key_required=False)["paths"]
    return [
        (method.upper(), re.sub("{.+?}", "6f1c0000-0000-4000-8000-000000000000", path))
        for path, item in paths.items()
        for method, operation in item.items()
        if method != "parameters"
        and not any(each["in"] == "query" for each in operation.get("parameters", ()))
    ]


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize(("method", "path"), without_parameters())
def test_an_unknown_parameter_is_refused_and_not_ignored(key, method, path):
    body = ROUTES[path][2] if path in ROUTES else None
    answer = key.ask(method, path, params={"dry_run": "true", "x": ""}, json=body)
    assert errors_of(answer) == {"dry_run": "extra_forbidden", "x": "extra_forbidden"}
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_there_are_operations_that_take_no_parameters():
    assert {("POST", PACKET), ("DELETE", "/voice/webhook/endpoint")} <= set(without_parameters())


def test_deleting_with_dry_run_is_refused(key, one):
    callback_id = one.accepted(between("1000203", "1000218"))
    answer = key.ask("DELETE", f"{PATH}/{callback_id}", params={"dry_run": "true"})
    assert errors_of(answer) == {"dry_run": "extra_forbidden"}
    assert one.get(callback_id).json()["status"] == "calling_first"
    assert one.delete(callback_id).status_code == 202


def test_an_operation_accepts_its_own_parameters(key):
    assert key.ask("POST", PATH, params={"dry_run": "true"}, json=SEED).status_code == 200
    assert key.ask("GET", PATH, params={"limit": "1"}).status_code == 200
    assert key.ask("GET", "/voice/webhook/failed", params={"limit": "1"}).status_code == 200


# -- invalid UTF-8 --------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream"])
@pytest.mark.parametrize(
    ("route", "body"),
    [
        (
            PATH,
            b'{"leg_A": {"to": "1000203"}, "leg_B": {"to": "1000218"}, "metadata": {"k": "\xe9"}}',
        ),
        (PACKET, b"a=1000203&b=1000218&order=\xe9"),
        (PACKET, b'{"a": "1000203", "b": "1000218", "order": "\xe9"}'),
        (ERASURE, b'{"number": "+14155550118\xff"}'),
        (ENDPOINT, b'{"url": "https://client.example/\xe9"}'),
    ],
)
def test_invalid_utf_8_is_refused_and_not_replaced(key, route, body, content_type):
    """Both when the gateway passes the body on as bytes and when it passes it on as text."""
    answer = key.send(route, data=body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (400, "body_not_utf8")


@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream"])
def test_valid_utf_8_is_stored_unchanged(key, content_type):
    text = '{"leg_A": {"to": "1000203"}, "leg_B": {"to": "1000218"}, "metadata": {"k": "é😀"}}'
    answer = key.send(PATH, data=text.encode(), headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["metadata"]) == (202, {"k": "é😀"})
    key.ask("DELETE", answer.headers["Location"])


# -- error responses -------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize("route", [PATH, PACKET, ERASURE])
@pytest.mark.parametrize(
    ("body", "most_errors"),
    [
        ("{" + ",".join(f'"{n}":1' for n in range(1500)) + "}", 20),
        ("{" + ",".join(f'"{n}":1,"{n}":1' for n in range(1000)) + "}", 20),
        ('{"' + "k" * 3000 + '": 1}', 3),
    ],
    ids=["many", "many twice", "long"],
)
def test_an_error_response_is_short_for_any_request(key, route, body, most_errors):
    answer = key.send(route, data=body)
    assert set(errors_of(answer).values()) <= {"extra_forbidden", "missing", "repeated_field"}
    errors = answer.json()["errors"]
    assert 2 <= len(errors) <= most_errors
    assert max(len(error["field"]) for error in errors) <= 64
    assert len(answer.content) < 4000


def test_a_refusal_says_how_many_more_fields_are_wrong(key):
    parameters = {f"x{n}": "" for n in range(21)}
    of_too_many = key.ask("GET", PATH, params=parameters)
    assert len(errors_of(of_too_many)) == 20
    assert of_too_many.json()["detail"].startswith("See errors for the first 20 of 21 fields")
    del parameters["x0"]
    assert "first" not in key.ask("GET", PATH, params=parameters).json()["detail"]


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize("route", [PATH, ERASURE, ENDPOINT])
def test_invalid_json_and_json_that_is_not_an_object_get_different_errors(key, route):
    broken, list_ = key.send(route, data=b'{"x": 1,\n "y" 2}'), key.send(route, data=b"[]")
    assert (broken.json()["code"], list_.json()["code"]) == ("body_not_json", "body_not_json")
    assert "line 2, column 6" in broken.json()["detail"]
    assert "not an object" in list_.json()["detail"]


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize("body", ["", "a=1000203&a=1000203", "b=1000218"])
def test_an_error_about_a_form_does_not_mention_json(key, body):
    assert "JSON" not in key.send(PACKET, data=body).text


def test_the_conflict_of_a_packet_names_the_operation_that_accepts_more(key, one):
    first = key.send(PACKET, json=ROUTES[PACKET][2])
    answer = key.send(PACKET, json=ROUTES[PACKET][2])
    assert (answer.status_code, answer.json()["code"]) == (409, "callback_in_progress")
    assert "POST /voice/call/callback also accepts" in answer.json()["detail"]
    one.delete(first.json()["callback_id"])


def test_an_invalid_packet_id_gets_the_error_of_an_invalid_idempotency_key(key):
    as_id = key.send(PACKET, data="a=1000203&b=1000218&id=x")
    as_header = key.send(
        PATH, json=ROUTES[PATH][2] | {"webhook": None}, headers={"Idempotency-Key": "x"}
    )
    (error,) = as_id.json()["errors"]
    assert (error["field"], error["code"]) == ("id", as_header.json()["code"])
    assert error["message"] == as_header.json()["detail"]


@pytest.mark.usefixtures("nothing_is_done")
def test_an_error_about_a_long_url_states_the_limit(key):
    answer = key.send(ENDPOINT, json={"url": URL + "x" * 3000})
    assert errors_of(answer) == {"url": "url_not_allowed"}
    assert "2048" in answer.json()["errors"][0]["message"]


def test_the_scheme_of_a_url_is_stored_in_lower_case(key):
    answer = key.send(ENDPOINT, json={"url": URL.replace("https", "HTTPS")})
    assert (answer.status_code, answer.json()["url"]) == (201, URL)


def test_a_plus_in_a_query_need_not_be_escaped(running, tenant, key, one):
    running.make_number("+14155550178", tenant)
    callback_id = one.accepted(
        {"leg_A": {"to": "1000203", "from": "+14155550178"}, "leg_B": {"to": "+14155550118"}}
    )
    for query in (
        "number=+14155550118",
        "number=%2B14155550118",
        "created_after=2020-01-01T00:00:00+01:00&created_before=2030-01-01T00:00:00+01:00",
    ):
        found = key.ask("GET", f"{PATH}?{query}").json()
        assert [each["callback_id"] for each in found["callbacks"]] == [callback_id]
    one.delete(callback_id)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/voice/nothing"), ("PATCH", PATH), ("POST", f"{PATH}/")]
)
def test_the_gateway_itself_responds_to_an_unknown_route(key, method, path):
    answer = key.ask(method, path, json=SEED)
    assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})
