"""template.yaml is ordered by feature, in the order of the layer's packages.

What belongs to a function stands directly after it.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.template import document
from tests.template.document import of_type, references

SECTIONS = (
    "parameters",
    "globals",
    "storage",
    "carrier",
    "webhooks",
    "call_control",
    "triggers",
    "privacy",
    "api",
    "operations",
    "outputs",
)

# What a section consists of: its functions, its state machine, and what belongs to no function.
HEADS = {
    "carrier": ("CarrierWebhook",),
    "webhooks": ("PublishEvents", "NotifyClient", "ResumeDeliveries", "WebhookApi"),
    "call_control": (
        "CallbackWorkflow",
        "PlaceLeg",
        "UseDeparture",
        "PlanDepartures",
        "CloseCallback",
        "SettleCallback",
        "Reconcile",
    ),
    "triggers": ("Trigger", "TriggerEvent", "AcceptTrigger"),
    "privacy": ("ErasureApi", "Erase"),
    "api": ("Authorizer", "CallbackApi", "ApiDocs"),
}
FUNCTIONS = tuple(name for names in HEADS.values() for name in names if name != "CallbackWorkflow")
OTHERS = {
    "globals": {"SharedLayer", "TracingPolicy"},
    "api": {"HttpApi", "HttpApiStage", "HttpApiLogs"},
    "storage": {"CallbackTable"},
    "operations": {"CallsLeftTheQueueLate", "CallsAreInTheQueue", "CallsHeldInCarrierQueueAlarm"},
}

_HEADING = re.compile(r" *# == (\w+) ==")
_KEY = re.compile(r"([A-Za-z]+):")
_RESOURCE = re.compile(r"  ([A-Za-z]+):")


def _lines() -> list[str]:
    return document.TEMPLATE.read_text(encoding="utf-8").splitlines()


def _places() -> dict[str, tuple[str, int]]:
    """Top-level key or logical id to (its section, its line)."""
    places: dict[str, tuple[str, int]] = {}
    section = key = ""
    for number, line in enumerate(_lines()):
        if heading := _HEADING.fullmatch(line):
            section = heading[1]
        elif found := _KEY.fullmatch(line):
            key = found[1]
            places[key] = (section, number)
        elif key == "Resources" and (found := _RESOURCE.fullmatch(line)):
            places[found[1]] = (section, number)
    return places


def _blocks() -> dict[str, list[str]]:
    """A function or the state machine to all logical ids from it to the next one, or to the end
    of the section."""
    heads = {name for names in HEADS.values() for name in names}
    resources = document.source()["Resources"]
    blocks: dict[str, list[str]] = {}
    head = current = ""
    for name, (section, _) in _places().items():
        if name in heads:
            head = name
        elif section != current:
            head = ""
        current = section
        if head and name in resources:
            blocks.setdefault(head, []).append(name)
    return blocks


def _referring(deployed: dict[str, Any], kind: str, targets: list[str], *keys: str) -> list[str]:
    """Logical ids of the resources of a type that refer to a target in one of these properties."""
    return [
        name
        for name, properties in of_type(deployed, kind).items()
        if set(targets) & set(references([properties.get(key) for key in keys]))
    ]


def _sources(deployed: dict[str, Any], function: str) -> Iterator[str]:
    """Queues that the function reads."""
    for mapping in of_type(deployed, "AWS::Lambda::EventSourceMapping").values():
        if function in references(mapping["FunctionName"]):
            yield from references(mapping["EventSourceArn"])


def _dead_letters(deployed: dict[str, Any], function: str, queues: list[str]) -> list[str]:
    """Queues of what the function, or a queue that it reads, gave up."""
    found = {name for queue in queues for name in _redrive(deployed, queue)}
    for kind in ("AWS::Lambda::EventSourceMapping", "AWS::Lambda::EventInvokeConfig"):
        for config in of_type(deployed, kind).values():
            if function in references(config["FunctionName"]):
                found |= set(references(config.get("DestinationConfig", {})))
    return sorted(found)


def _redrive(deployed: dict[str, Any], queue: str) -> list[str]:
    return list(references(of_type(deployed, "AWS::SQS::Queue")[queue].get("RedrivePolicy", {})))


def _belongings(deployed: dict[str, Any], function: str) -> list[list[str]]:
    """What belongs to a function, by kind, in the order in which the kinds are to stand."""
    properties = of_type(deployed, "AWS::Lambda::Function")[function]
    all_queues = of_type(deployed, "AWS::SQS::Queue")
    queues = [name for name in _sources(deployed, function) if name in all_queues]
    dead = _dead_letters(deployed, function, queues)
    integrations = _referring(
        deployed, "AWS::ApiGatewayV2::Integration", [function], "IntegrationUri"
    )
    return [
        list(references(properties["Role"])),
        list(references(properties["LoggingConfig"]["LogGroup"])),
        _referring(deployed, "AWS::Events::Rule", [function], "Targets"),
        queues,
        dead,
        _referring(deployed, "AWS::CloudWatch::Alarm", [*queues, *dead], "Dimensions"),
        integrations,
        _referring(deployed, "AWS::ApiGatewayV2::Route", integrations, "Target"),
    ]


def test_the_sections_stand_in_their_order() -> None:
    headings = [found[1] for line in _lines() if (found := _HEADING.fullmatch(line))]

    assert headings == list(SECTIONS)


def test_every_key_and_every_resource_stands_in_its_section() -> None:
    places = _places()
    expected = {
        "Parameters": "parameters",
        "Conditions": "parameters",
        "Globals": "globals",
        "Resources": "globals",
        "Outputs": "outputs",
    }

    assert set(document.source()["Resources"]) <= set(places)
    assert {key: places[key][0] for key in expected} == expected
    for section, names in {**OTHERS, **HEADS}.items():
        assert {places[name][0] for name in names} == {section}


def test_each_section_has_its_functions_and_nothing_that_belongs_nowhere() -> None:
    blocks = _blocks()
    in_blocks = {name for block in blocks.values() for name in block}
    others = {name for names in OTHERS.values() for name in names}

    assert list(blocks) == [name for names in HEADS.values() for name in names]
    assert set(document.source()["Resources"]) - in_blocks == others


def test_these_are_all_functions(deployed: dict[str, Any]) -> None:
    assert set(FUNCTIONS) == set(of_type(deployed, "AWS::Lambda::Function"))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_belongs_to_a_function_stands_after_it_and_before_the_next(
    deployed: dict[str, Any], function: str
) -> None:
    block = _blocks()[function]
    kinds = [kind for kind in _belongings(deployed, function) if kind]

    assert {name for kind in kinds for name in kind} - set(block) == set()
    positions = [[block.index(name) for name in kind] for kind in kinds]
    for earlier, later in pairwise([[0], *positions]):
        assert max(earlier) < min(later)
    # Nothing stands between a function, its role and its log group.
    assert positions[:2] == [[1], [2]]


def test_the_belongings_are_found(deployed: dict[str, Any]) -> None:
    """Of one function of each kind: one that reads a queue, one with dead letters of its own, one
    with routes."""
    assert _belongings(deployed, "NotifyClient")[:6] == [
        ["NotifyClientRole"],
        ["NotifyClientLogs"],
        [],
        ["DeliveryQueue"],
        ["UnsentDeliveries"],
        ["UnsentDeliveriesAlarm"],
    ]
    assert _belongings(deployed, "CloseCallback")[2:6] == [
        ["StoppedExecutionRule"],
        [],
        ["UnclosedCallbacks"],
        ["UnclosedCallbacksAlarm"],
    ]
    assert _belongings(deployed, "ErasureApi")[6:] == [
        ["ErasureApiIntegration"],
        ["AskForErasureRoute", "ListErasuresRoute", "ReadErasureRoute"],
    ]


@pytest.mark.parametrize("kind", ["AWS::Lambda::Permission", "AWS::Logs::MetricFilter"])
def test_permissions_and_filters_stand_with_their_function(
    deployed: dict[str, Any], kind: str
) -> None:
    """A filter of the operations' alarm reads the logs of two functions, and is listed above."""
    blocks = _blocks()
    for name, properties in of_type(deployed, kind).items():
        if name not in OTHERS["operations"]:
            target = properties.get("FunctionName", properties.get("LogGroupName"))
            ((owner,),) = [
                [head for head, block in blocks.items() if {name, referred} <= set(block)]
                for referred in references(target)
            ]
            assert owner in FUNCTIONS, name


def test_the_workflow_is_followed_by_its_role_and_its_log() -> None:
    assert _blocks()["CallbackWorkflow"] == [
        "CallbackWorkflow",
        "CallbackWorkflowRole",
        "CallbackWorkflowLogs",
    ]
