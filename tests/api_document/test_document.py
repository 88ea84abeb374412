"""The document says what the code does, and the page says what the document does."""

import copy
import importlib
import json
import pkgutil
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests

import callback as package
from callback import errors, http
from callback.admission import rules
from callback.api import docs_page, openapi
from callback.numbering import addresses
from callback.requests import schema, views
from tests.functions.cold_start import start
from tests.local import template
from tests.support import build
from tests.support.browser import rendered
from tests.template.document import TEMPLATE

URL = "https://callback.example.com"

# Refusals that no client of the API is told, and why.
NOT_TOLD = {
    errors.Forbidden: "told to whoever is not the carrier, at the carrier's doors",
    errors.CarrierUnavailable: "the workflow's: it goes on trying",
    addresses.InvalidAddress: "the code of a field's error, within invalid_request",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.of(URL, key_required=False)


def validator(document: dict[str, Any], name: str) -> jsonschema.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema.Draft202012Validator(schema)


def operations(document: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        inner = set().union(*map(references, value.values()))
        return inner | ({value["$ref"]} if "$ref" in value else set())
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_it_has_every_route_of_clients_and_no_other(document):
    routes = template.load(TEMPLATE).routes
    assert set(operations(document)) == {r.key for r in routes if r.authorization == "CUSTOM"}


def test_every_schema_is_a_schema_and_is_used():
    document = openapi.of(URL, key_required=True)
    schemas = document["components"]["schemas"]
    for each in schemas.values():
        jsonschema.Draft202012Validator.check_schema(each)
    used = references(document["paths"]) | references(document["webhooks"]) | references(schemas)
    assert used == {f"#/components/schemas/{name}" for name in schemas}


def test_a_key_that_must_be_sent_is_said_to_be_required(document):
    def key(made: dict[str, Any]) -> dict[str, Any]:
        parameters = made["paths"]["/voice/call/callback"]["post"]["parameters"]
        (parameter,) = [each for each in parameters if each["in"] == "header"]
        return parameter

    strict = openapi.of(URL, key_required=True)
    assert (key(document)["required"], key(strict)["required"]) == (False, True)


def test_the_example_is_a_request_that_is_taken(document):
    content = document["paths"]["/voice/call/callback"]["post"]["requestBody"]["content"]
    schema.CallbackRequest.model_validate(
        content["application/json"]["example"],
        context={"home_region": "US", "sip_domain": "pbx.example.com"},
    )


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("+14155550123", True),
        ("1000123", True),
        ("sip:alice@pbx.example.com:5060", True),
        ("+0155550123", False),
        ("x1000123", False),
        ("1000123x", False),
        ("sip:alice", False),
    ],
)
def test_it_takes_the_addresses_that_the_api_takes(document, address, taken):
    assert validator(document, "LegRequest").is_valid({"to": address}) is taken


def test_a_record_in_any_state_is_as_described(document):
    planned = build.callback()
    ended = replace(planned, outcome="completed", cause="hung_up", ended_at=planned.created_at)
    for callback in (planned, ended):
        validator(document, "Callback").validate(views.callback_view(callback))
    assert not validator(document, "Callback").is_valid(
        {**views.callback_view(planned), "room": "secret"}
    )


def test_a_refusal_is_as_described(document):
    error = errors.CallbackInProgress("Wait.", callback_id="1")
    answered = json.loads(http.problem(error)["body"])
    validator(document, "CallbackInProgress").validate(answered)
    del answered["callback_id"]
    assert not validator(document, "CallbackInProgress").is_valid(answered)


def test_every_refusal_is_told_or_is_nothing_to_clients(document):
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"callback.{module.name}")
    schemas = document["components"]["schemas"].values()
    told = {each["properties"]["code"]["const"] for each in schemas if is_problem(each)}
    codes = {kind.code for kind in kinds_of(errors.CallbackError) if "code" in vars(kind)}
    assert len(told) > 30
    assert codes - told == {kind.code for kind in NOT_TOLD}


def is_problem(each: dict[str, Any]) -> bool:
    return "const" in each.get("properties", {}).get("code", {})


def kinds_of(kind: type[errors.CallbackError]) -> set[type[errors.CallbackError]]:
    return set().union(*({each} | kinds_of(each) for each in kind.__subclasses__()))


@pytest.mark.parametrize("operation", ["POST /voice/call/callback", "POST /voice/trigger/packet"])
def test_whatever_a_rule_refuses_is_told_where_a_callback_is_asked_for(document, operation):
    said = re.findall(r"errors\.(\w+)", Path(rules.__file__).read_text(encoding="utf-8"))
    assert len(set(said)) > 10
    told = operations(document)[operation]["responses"]
    for name in sorted(set(said)):
        status = str(getattr(errors, name).status)
        assert f"#/components/schemas/{name}" in references(told[status]), name


def test_every_field_that_may_be_sent_says_what_it_is(document):
    """The parameters, and the fields of bodies."""
    schemas = document["components"]["schemas"]
    bodies: set[str] = set()
    found = set().union(*(references(o.get("requestBody")) for o in operations(document).values()))
    while found - bodies:
        bodies |= found
        found = set().union(*(references(schemas[each.rpartition("/")[2]]) for each in bodies))
    parameters = [
        parameter
        for item in document["paths"].values()
        for each in item.values()
        for parameter in (each if isinstance(each, list) else each.get("parameters", []))
    ]
    told = {
        f"{name}.{field}": described
        for name in sorted(each.rpartition("/")[2] for each in bodies)
        for field, described in schemas[name].get("properties", {}).items()
    } | {parameter["name"]: parameter for parameter in parameters}
    assert {"LegRequest.to", "WebhookRequest.url", "PacketRequest.a", "limit"} <= set(told)
    assert [name for name, described in told.items() if not described.get("description")] == []


class Page(HTMLParser):
    """The tags of a page, the places it has and those it points at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.places: set[str] = set()
        self.links: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        assert not {name for name in given if name == "src" or name.startswith("on")}
        if given.get("id"):
            self.places.add(f"#{given['id']}")
        if given.get("href"):
            self.links.add(str(given["href"]))


def test_the_page_shows_every_operation_and_field_and_loads_nothing(document):
    text = docs_page.of(document)
    page = Page(text)
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert page.links - page.places == {"openapi.json"}
    for name in operations(document):
        assert f"<code>{name}</code>" in text
    for each in document["components"]["schemas"].values():
        for field in each.get("properties", {}):
            assert f"<code>{field}</code>" in text


def test_the_page_begins_with_how_to_send_a_key_and_where_everything_is(document):
    start, _, rest = docs_page.of(document).partition("<code>POST /voice/call/callback</code></h2>")
    assert rest
    assert "<code>Authorization: Bearer &lt;key id&gt;.&lt;secret&gt;</code>" in start
    assert "<code>Authorization: Basic &lt;base64 of key id:secret&gt;</code>" in start
    assert f"curl --user &#x27;&lt;key id&gt;:&lt;secret&gt;&#x27; {URL}/voice/" in start
    operations_told = [*operations(document).values(), document["webhooks"]["event"]["post"]]
    assert {f"#{each['operationId']}" for each in operations_told} <= Page(start).links


def test_what_is_code_in_the_document_is_code_on_the_page(document):
    text = docs_page.of(document)
    assert "`" not in text
    assert "with a stable <code>code</code>;" in text


def test_the_page_is_no_wider_than_a_telephone(document, tmp_path):
    """400 pixels of CSS: nobody has to scroll sideways."""
    measure = (
        "onload = () => { const page = document.querySelector('iframe').contentDocument;"
        "document.title = ['scrollWidth', 'clientWidth'].map(w => page.documentElement[w]) }"
    )
    shown = escape(docs_page.of(document))
    frame = f'<iframe style="width: 400px; height: 800px" srcdoc="{shown}"></iframe>'
    (tmp_path / "framed.html").write_text(f"{frame}<script>{measure}</script>", encoding="utf-8")
    page = rendered((tmp_path / "framed.html").as_uri(), tmp_path / "profile")
    needed, given = map(int, re.search(r"<title>(\d+),(\d+)</title>", page).groups())
    assert needed <= given <= 400


def test_what_the_document_says_is_escaped_on_the_page(document):
    hostile = copy.deepcopy(document)
    hostile["servers"] = [{"url": "https://x/<script>alert(1)</script>"}]
    hostile["info"]["title"] = "<img src=x>"
    hostile["info"]["description"] = "`<s>` and <s>, `<s>"
    hostile["components"]["securitySchemes"]["basic"]["description"] = "<s>`</code><s>`"
    hostile["paths"]["/<s>"] = {"get": {"operationId": '"><s>', "summary": "<s>", "responses": {}}}
    hostile["components"]["schemas"]["Callback"]["properties"]["<u>"] = {"type": "<i>"}
    assert Page(docs_page.of(hostile)).tags == Page(docs_page.of(document)).tags


def test_no_other_function_pays_for_it_at_its_start():
    loaded = start("CallbackApi").modules
    assert "callback.requests.schema" in loaded
    assert "callback.api.openapi" not in loaded


def test_both_are_served_to_everybody(stack):
    served = requests.get(f"{stack.url}/openapi.json")
    page = requests.get(f"{stack.url}/docs")
    assert (served.status_code, page.status_code) == (200, 200)
    assert served.json() == openapi.of(stack.url, key_required=False)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert page.text == docs_page.of(served.json())
