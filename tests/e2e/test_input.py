"""What a client sends is done as it is written, or refused: at every door, and nothing half."""

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
URL = "https://client.example/told"
# Each door that takes JSON, its model, and a body that it would take.
DOORS: dict[str, tuple[str, type[BaseModel], dict[str, Any]]] = {
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


class Everything:
    """A key that may do everything, and whether anything was done with it."""

    def __init__(self, stack: LocalStack, tenant: str) -> None:
        self._url = stack.url
        scopes = ("callbacks:read", "callbacks:write", "callbacks:erase")
        self._bearer = {"Authorization": f"Bearer {stack.make_key(tenant, *scopes)}"}

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {**self._bearer, **options.pop("headers", {})}
        return requests.request(method, self._url + path, headers=headers, **options)

    def send(self, door: str, **options: Any) -> requests.Response:
        return self.ask(DOORS[door][0], door, **options)


@pytest.fixture
def key(running: LocalStack, tenant: str) -> Everything:
    return Everything(running, tenant)


@pytest.fixture
def nothing_is_done(key: Everything, stack: Observer, one: Client) -> Iterator[None]:  # noqa: ARG001
    calls, stored = len(stack.calls()), stack.rows()
    yield
    assert len(stack.calls()) == calls
    # Meanwhile others' callbacks may end, and be taken off a list.
    assert stack.rows() <= stored
    assert one.list().json()["callbacks"] == []


def errors_of(answer: requests.Response) -> dict[str, str]:
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.text
    return {error["field"]: error["code"] for error in answer.json()["errors"]}


def names_in_here(model: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where a field could be sent by the name that it has in the code and not for clients."""
    for name, field in model.model_fields.items():
        public = field.alias or name
        if name != public:
            yield (*at, name)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from names_in_here(kind, (*at, public))


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize(
    ("door", "path"), [(door, path) for door in DOORS for path in names_in_here(DOORS[door][1])]
)
def test_a_field_by_the_name_that_it_has_in_the_code_is_refused_and_not_dropped(key, door, path):
    body = copy.deepcopy(DOORS[door][2])
    place = body
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = "+14155550199" if len(path) > 1 else {"to": "1000201"}
    field = ".".join(path)
    assert errors_of(key.send(door, json=body)) == {field: "extra_forbidden"}


def test_there_are_such_names():
    assert set(names_in_here(schema.CallbackRequest)) >= {("leg_a",), ("leg_A", "caller_id")}


# -- a field sent twice ----------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize(
    ("door", "body", "field"),
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
def test_a_duplicate_field_is_refused(key, door, body, field):
    assert errors_of(key.send(door, data=body)) == {field: "repeated_field"}


def test_the_same_field_name_in_two_objects_is_not_a_duplicate(key):
    body = DOORS[PATH][2] | {"webhook": None, "metadata": {"to": "1", "from": "2", "metadata": "3"}}
    accepted = key.send(PATH, json=body)
    assert accepted.status_code == 202, accepted.text
    key.ask("DELETE", accepted.headers["Location"])


# -- parameters that nobody takes ------------------------------------------------------------------


def without_parameters() -> list[tuple[str, str]]:
    """Every operation that takes no query, as the document says."""
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
    body = DOORS[path][2] if path in DOORS else None
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


# -- what is no text -------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream"])
@pytest.mark.parametrize(
    ("door", "body"),
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
def test_invalid_utf_8_is_refused_and_not_replaced(key, door, body, content_type):
    """Whether the gateway hands it over as bytes or as text."""
    answer = key.send(door, data=body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (400, "body_not_utf8")


@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream"])
def test_valid_utf_8_is_stored_unchanged(key, content_type):
    text = '{"leg_A": {"to": "1000203"}, "leg_B": {"to": "1000218"}, "metadata": {"k": "é😀"}}'
    answer = key.send(PATH, data=text.encode(), headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["metadata"]) == (202, {"k": "é😀"})
    key.ask("DELETE", answer.headers["Location"])


# -- how it is told --------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize("door", [PATH, PACKET, ERASURE])
@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("{" + ",".join(f'"{n}":1' for n in range(1500)) + "}", 20),
        ("{" + ",".join(f'"{n}":1,"{n}":1' for n in range(1000)) + "}", 20),
        ('{"' + "k" * 3000 + '": 1}', 3),
    ],
    ids=["many", "many twice", "long"],
)
def test_an_error_response_is_short_for_any_request(key, door, body, told):
    answer = key.send(door, data=body)
    assert set(errors_of(answer).values()) <= {"extra_forbidden", "missing", "repeated_field"}
    errors = answer.json()["errors"]
    assert 2 <= len(errors) <= told
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
@pytest.mark.parametrize("door", [PATH, ERASURE, ENDPOINT])
def test_invalid_json_and_json_that_is_not_an_object_get_different_errors(key, door):
    broken, list_ = key.send(door, data=b'{"x": 1,\n "y" 2}'), key.send(door, data=b"[]")
    assert (broken.json()["code"], list_.json()["code"]) == ("body_not_json", "body_not_json")
    assert "line 2, column 6" in broken.json()["detail"]
    assert "not an object" in list_.json()["detail"]


@pytest.mark.usefixtures("nothing_is_done")
@pytest.mark.parametrize("body", ["", "a=1000203&a=1000203", "b=1000218"])
def test_an_error_about_a_form_does_not_mention_json(key, body):
    assert "JSON" not in key.send(PACKET, data=body).text


def test_a_packet_is_not_told_of_what_it_cannot_send(key, one):
    first = key.send(PACKET, json=DOORS[PACKET][2])
    answer = key.send(PACKET, json=DOORS[PACKET][2])
    assert (answer.status_code, answer.json()["code"]) == (409, "callback_in_progress")
    assert "POST /voice/call/callback also accepts" in answer.json()["detail"]
    one.delete(first.json()["callback_id"])


def test_a_packets_id_is_told_what_an_idempotency_key_is(key):
    as_id = key.send(PACKET, data="a=1000203&b=1000218&id=x")
    as_header = key.send(
        PATH, json=DOORS[PATH][2] | {"webhook": None}, headers={"Idempotency-Key": "x"}
    )
    (error,) = as_id.json()["errors"]
    assert (error["field"], error["code"]) == ("id", as_header.json()["code"])
    assert error["message"] == as_header.json()["detail"]


@pytest.mark.usefixtures("nothing_is_done")
def test_an_error_about_a_long_url_states_the_limit(key):
    answer = key.send(ENDPOINT, json={"url": URL + "x" * 3000})
    assert errors_of(answer) == {"url": "url_not_allowed"}
    assert "2048" in answer.json()["errors"][0]["message"]


def test_the_scheme_of_a_url_is_written_in_any_case_and_kept_in_one(key):
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
