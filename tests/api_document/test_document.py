"""The document describes the code, and the page shows the document."""

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
from callback.lifecycle import events, transitions
from callback.lifecycle.models import CloseReason, LegName, Reservation, Step
from callback.numbering import addresses
from callback.numbering.destinations import Destination
from callback.privacy.erasures import Erasure
from callback.privacy.views import erasure_view, erasures_view
from callback.requests import schema, views
from callback.requests.dry_run import Rehearsal, Rehearsed, rehearsal_view
from callback.storage import listings
from callback.webhooks import deliveries, management
from callback.webhooks.endpoints import Endpoint
from tests.functions.cold_start import start
from tests.local import template
from tests.support import build
from tests.support.browser import rendered
from tests.template.document import TEMPLATE

URL = "https://callback.example.com"

# Refusals that no client of the API receives, and why.
NOT_DESCRIBED = {
    errors.Forbidden: "the carrier's routes send it to a caller that is not the carrier",
    errors.CarrierUnavailable: "only the workflow sees it, and retries",
    addresses.InvalidAddress: "the code of a field's error, within invalid_request",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.build_document(URL, key_required=False)


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


def test_it_has_exactly_the_clients_routes(document):
    routes = template.load(TEMPLATE).routes
    assert set(operations(document)) == {r.key for r in routes if r.authorization == "CUSTOM"}


def test_every_schema_is_a_schema_and_is_used():
    document = openapi.build_document(URL, key_required=True)
    schemas = document["components"]["schemas"]
    for each in schemas.values():
        jsonschema.Draft202012Validator.check_schema(each)
    used = references(document["paths"]) | references(document["webhooks"]) | references(schemas)
    assert used == {f"#/components/schemas/{name}" for name in schemas}


def test_a_mandatory_idempotency_key_is_described_as_required(document):
    def key(document: dict[str, Any]) -> dict[str, Any]:
        parameters = document["paths"]["/voice/call/callback"]["post"]["parameters"]
        (parameter,) = [each for each in parameters if each["in"] == "header"]
        return parameter

    strict = openapi.build_document(URL, key_required=True)
    assert (key(document)["required"], key(strict)["required"]) == (False, True)


def test_the_example_is_a_valid_request(document):
    content = document["paths"]["/voice/call/callback"]["post"]["requestBody"]["content"]
    schema.CallbackRequest.model_validate(
        content["application/json"]["example"],
        context={"home_region": "US", "sip_domain": "pbx.example.com"},
    )


@pytest.mark.parametrize(
    ("address", "accepted"),
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
def test_it_accepts_the_addresses_that_the_api_accepts(document, address, accepted):
    assert validator(document, "LegRequest").is_valid({"to": address}) is accepted


def test_a_record_in_any_state_is_as_described(document):
    planned = build.callback()
    ended = replace(planned, outcome="completed", cause="hung_up", ended_at=planned.created_at)
    for callback in (planned, ended):
        validator(document, "Callback").validate(views.callback_view(callback))
    assert not validator(document, "Callback").is_valid(
        {**views.callback_view(planned), "room": "secret"}
    )


def event_bodies() -> dict[str, Any]:
    """The bodies of a test event, of a callback's event and of a leg's."""
    planned = build.callback()
    waiting = build.allowed(transitions.wait(planned, build.task(Step.FIRST)))
    dialing = build.allowed(transitions.claim(waiting, LegName.A, build.at(1)))
    (accepted,) = events.derive_events(None, planned)
    (leg_dialing,) = events.derive_events(waiting, events.with_event_count(waiting, dialing))
    test = events.payload(events.TEST, build.NOON, {})
    bodies = {"callback": accepted.payload, "leg": leg_dialing.payload, "test": test}
    return {name: json.loads(body) for name, body in bodies.items()}


def test_the_end_of_a_leg_that_was_never_dialed_is_described(document: dict[str, Any]) -> None:
    planned = build.callback()
    closed = build.allowed(transitions.close(planned, CloseReason.CANCELED, build.at(1)))
    for event in events.derive_events(planned, events.with_event_count(planned, closed)):
        validator(document, "Event").validate(json.loads(event.payload))


def rehearsal() -> Rehearsal:
    callback = build.callback()
    party = rules.Party(LegName.A, callback.leg_a, Destination("1000123"), 10_000, 600, {})
    calls = (
        Rehearsed(Step.FIRST, callback.leg_a, party, ("Europe/Paris",)),
        Rehearsed(Step.SECOND, callback.leg_b, party, None),
    )
    reservation = Reservation("2026-11-24", "USD", 320_000, 10_000, 20_000)
    return Rehearsal(callback, reservation, calls, "08:00-21:00 mon-sun", {})


def rendered_examples() -> dict[str, Any]:
    """What clients receive, by the name of its schema."""
    callback = build.callback()
    erasure = Erasure("e-1", "acme", None, build.NOON)
    endpoint = Endpoint("acme", URL, ("leg.*",), "whsec_1", build.NOON)
    (event,) = events.derive_events(None, callback)
    delivery = deliveries.new_delivery("acme", event, None)
    dry_run = rehearsal_view(rehearsal())
    bodies = event_bodies()
    return {
        "Callback": views.callback_view(callback),
        "Leg": views.callback_view(callback)["leg_A"],
        "Accepted": views.accepted_view("1"),
        "CallbackPage": views.page_view(listings.Page([callback], None)),
        "Rehearsal": dry_run,
        "RehearsedCall": dry_run["calls"][0],
        "CallingWindow": dry_run["calls"][0]["calling_window"],
        "Cost": dry_run["estimated_maximum_cost"],
        "Erasure": erasure_view(erasure),
        "Erasures": erasures_view([erasure]),
        "Endpoint": management.endpoint_view(endpoint),
        "EndpointWithSecret": management.endpoint_with_secret_view(endpoint),
        "Delivery": management.delivery_view(delivery),
        "FailedPage": management.failed_view(deliveries.Page([delivery], "next")),
        "Event": bodies["leg"],
        "EventData": bodies["leg"]["data"],
        "EventLeg": bodies["leg"]["data"]["leg"],
        "TestEvent": bodies["test"],
    }


RENDERED = rendered_examples()


@pytest.mark.parametrize("name", RENDERED)
def test_a_response_is_described_field_by_field_in_its_order(document, name):
    described = document["components"]["schemas"][name]
    optional = {"leg"} if name == "EventData" else set()
    assert list(described["properties"]) == list(RENDERED[name])
    assert described["required"] == [each for each in RENDERED[name] if each not in optional]
    assert described["additionalProperties"] is False
    validator(document, name).validate(RENDERED[name])


def test_an_event_of_no_leg_is_as_described(document):
    body = event_bodies()["callback"]
    assert "leg" not in body["data"]
    validator(document, "Event").validate(body)


def test_every_response_and_event_is_rendered_here(document):
    """Except the gateway's own. Requests and refusals are in other tests."""
    named = {
        name
        for operation in [*operations(document).values(), document["webhooks"]["event"]["post"]]
        for response in operation["responses"].values()
        for name in references(response)
    } | references(document["webhooks"])
    schemas = {name.rpartition("/")[2] for name in named}
    refusals = {name for name in schemas if is_problem(document["components"]["schemas"][name])}
    assert schemas - refusals - {"GatewayMessage"} - set(RENDERED) == set()


def test_the_texts_below_the_fields_of_a_view_are_their_descriptions(document):
    schemas = document["components"]["schemas"]
    assert {
        f"{name}.{field}": described["description"].split()[0]
        for name in RENDERED
        for field, described in schemas[name]["properties"].items()
        if "description" in described
    } == {
        "Callback.outcome": "Such",
        "Callback.cause": "The",
        "Callback.waiting_for": "What",
        "Callback.expected_at": "When",
        "Callback.start_by": "A",
        "Callback.source": "The",
        "Callback.bridged_seconds": "How",
        "Leg.cause": "sip_<code>,",
        "Leg.carrier_code": "The",
        "Leg.call_sid": "The",
        "Leg.seconds": "Answered",
        "CallbackPage.next_cursor": "Null",
        "Rehearsal.calls": "In",
        "RehearsedCall.step": "Calls",
        "RehearsedCall.region": "Of",
        "RehearsedCall.calling_window": "Null:",
        "Erasure.number_hash": "The",
        "Erasure.erased_at": "When",
        "Erasure.finished_at": "When",
        "Endpoint.disabled_at": "When",
        "Endpoint.previous_secret_until": "Until",
        "EndpointWithSecret.disabled_at": "When",
        "EndpointWithSecret.previous_secret_until": "Until",
        "EndpointWithSecret.secret": "whsec_",
        "Delivery.id": "The",
        "Delivery.reason": "Of",
        "FailedPage.next_cursor": "Null",
        "EventData.leg": "Only",
    }


def test_a_refusal_is_as_described(document):
    error = errors.CallbackInProgress("Wait.", callback_id="1")
    body = json.loads(http.problem(error)["body"])
    validator(document, "CallbackInProgress").validate(body)
    del body["callback_id"]
    assert not validator(document, "CallbackInProgress").is_valid(body)


def test_every_refusal_that_clients_receive_is_described(document):
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"callback.{module.name}")
    schemas = document["components"]["schemas"].values()
    described = {each["properties"]["code"]["const"] for each in schemas if is_problem(each)}
    codes = {kind.code for kind in kinds_of(errors.CallbackError) if "code" in vars(kind)}
    assert len(described) > 30
    assert codes - described == {kind.code for kind in NOT_DESCRIBED}


def is_problem(each: dict[str, Any]) -> bool:
    return "const" in each.get("properties", {}).get("code", {})


def kinds_of(kind: type[errors.CallbackError]) -> set[type[errors.CallbackError]]:
    return set().union(*({each} | kinds_of(each) for each in kind.__subclasses__()))


@pytest.mark.parametrize("operation", ["POST /voice/call/callback", "POST /voice/trigger/packet"])
def test_every_refusal_of_a_rule_is_described_where_a_callback_is_created(document, operation):
    modules = Path(rules.__file__).parent.glob("*.py")
    source = "".join(each.read_text(encoding="utf-8") for each in modules)
    refusals = set(re.findall(r"errors\.(\w+)", source))
    assert len(refusals) > 10
    responses = operations(document)[operation]["responses"]
    for name in sorted(refusals):
        status = str(getattr(errors, name).status)
        assert f"#/components/schemas/{name}" in references(responses[status]), name


def test_every_field_of_a_request_has_a_description(document):
    """Parameters, and fields of bodies."""
    schemas = document["components"]["schemas"]
    bodies: set[str] = set()
    new = set().union(*(references(o.get("requestBody")) for o in operations(document).values()))
    while new - bodies:
        bodies |= new
        new = set().union(*(references(schemas[each.rpartition("/")[2]]) for each in bodies))
    parameters = [
        parameter
        for item in document["paths"].values()
        for each in item.values()
        for parameter in (each if isinstance(each, list) else each.get("parameters", []))
    ]
    fields = {
        f"{name}.{field}": described
        for name in sorted(each.rpartition("/")[2] for each in bodies)
        for field, described in schemas[name].get("properties", {}).items()
    } | {parameter["name"]: parameter for parameter in parameters}
    assert {"LegRequest.to", "WebhookRequest.url", "PacketRequest.a", "limit"} <= set(fields)
    assert [name for name, described in fields.items() if not described.get("description")] == []


class Page(HTMLParser):
    """A page's tags, anchors and links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        attributes = dict(attrs)
        assert not {name for name in attributes if name == "src" or name.startswith("on")}
        if attributes.get("id"):
            self.anchors.add(f"#{attributes['id']}")
        if attributes.get("href"):
            self.links.add(str(attributes["href"]))


def test_the_page_shows_every_operation_and_field_and_loads_nothing(document):
    text = docs_page.render_page(document)
    page = Page(text)
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert page.links - page.anchors == {"openapi.json"}
    for name in operations(document):
        assert f"<code>{name}</code>" in text
    for each in document["components"]["schemas"].values():
        for field in each.get("properties", {}):
            assert f"<code>{field}</code>" in text


def test_the_page_begins_with_the_key_and_the_contents(document):
    start, _, rest = docs_page.render_page(document).partition(
        "<code>POST /voice/call/callback</code></h2>"
    )
    assert rest
    assert "<code>Authorization: Bearer &lt;key id&gt;.&lt;secret&gt;</code>" in start
    assert "<code>Authorization: Basic &lt;base64 of key id:secret&gt;</code>" in start
    assert f"curl --user &#x27;&lt;key id&gt;:&lt;secret&gt;&#x27; {URL}/voice/" in start
    listed = [*operations(document).values(), document["webhooks"]["event"]["post"]]
    assert {f"#{each['operationId']}" for each in listed} <= Page(start).links


@pytest.mark.parametrize(
    ("status", "sign"),
    [
        (401, '{"message": "Unauthorized"}'),
        (403, '{"message": "Forbidden"}'),
        (403, "scope_missing"),
    ],
)
def test_the_responses_to_a_wrong_key_are_explained_beside_the_keys(document, status, sign):
    about_keys = document["info"]["description"].split("\n\n")[2]
    assert str(status) in about_keys
    assert f"`{sign}`" in about_keys
    _, _, section = docs_page.render_page(document).partition('<h2 id="authentication">')
    rows = section.partition("<h2")[0].split("<tr>")
    assert [row for row in rows if f">{status}<" in row and escape(sign) in row]


def test_every_operation_explains_the_responses_to_a_wrong_key(document):
    for operation in operations(document).values():
        assert '`{"message": "Unauthorized"}`' in operation["responses"]["401"]["description"]
        forbidden = operation["responses"]["403"]["description"]
        assert '`{"message": "Forbidden"}`' in forbidden
        assert "`scope_missing`" in forbidden


def test_what_is_code_in_the_document_is_code_on_the_page(document):
    text = docs_page.render_page(document)
    assert "`" not in text
    assert "with a stable <code>code</code>;" in text


def test_the_page_is_no_wider_than_a_telephone(document, tmp_path):
    """At 400 CSS pixels there is nothing to scroll sideways."""
    measure = (
        "onload = () => { const page = document.querySelector('iframe').contentDocument;"
        "document.title = ['scrollWidth', 'clientWidth'].map(w => page.documentElement[w]) }"
    )
    shown = escape(docs_page.render_page(document))
    frame = f'<iframe style="width: 400px; height: 800px" srcdoc="{shown}"></iframe>'
    (tmp_path / "framed.html").write_text(f"{frame}<script>{measure}</script>", encoding="utf-8")
    page = rendered((tmp_path / "framed.html").as_uri(), tmp_path / "profile")
    content, viewport = map(int, re.search(r"<title>(\d+),(\d+)</title>", page).groups())
    assert content <= viewport <= 400


def test_texts_of_the_document_are_escaped_on_the_page(document):
    hostile = copy.deepcopy(document)
    hostile["servers"] = [{"url": "https://x/<script>alert(1)</script>"}]
    hostile["info"]["title"] = "<img src=x>"
    hostile["info"]["description"] = "`<s>` and <s>, `<s>"
    hostile["components"]["securitySchemes"]["basic"]["description"] = "<s>`</code><s>`"
    hostile["paths"]["/<s>"] = {"get": {"operationId": '"><s>', "summary": "<s>", "responses": {}}}
    hostile["components"]["schemas"]["Callback"]["properties"]["<u>"] = {"type": "<i>"}
    assert Page(docs_page.render_page(hostile)).tags == Page(docs_page.render_page(document)).tags


def test_no_other_function_loads_it_at_its_start():
    assert "callback.api.openapi" in start("ApiDocs").modules
    assert "callback.api.openapi" not in start("CallbackApi").modules


def test_both_are_public(stack):
    served = requests.get(f"{stack.url}/openapi.json")
    page = requests.get(f"{stack.url}/docs")
    assert (served.status_code, page.status_code) == (200, 200)
    assert served.json() == openapi.build_document(stack.url, key_required=False)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert page.text == docs_page.render_page(served.json())
