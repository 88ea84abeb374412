"""Loops of functions through queues: each is known, and Lambda is told not to end it.

Lambda drops a message when the chain that led to it has invoked its function 16 times (Lambda
Developer Guide, "Use Lambda recursive loop detection to prevent infinite loops").
"""

from typing import Any

from tests.template import document
from tests.template.document import as_list, of_type


def invoked_by(deployed: dict[str, Any]) -> dict[str, set[str]]:
    """The functions that each function may invoke: directly, or by a message to a queue."""
    functions = of_type(deployed, "AWS::Lambda::Function")
    consumers: dict[str, set[str]] = {}
    for source in of_type(deployed, "AWS::Lambda::EventSourceMapping").values():
        for queue in document.references(source["EventSourceArn"]):
            (function,) = set(document.references(source["FunctionName"]))
            consumers.setdefault(queue, set()).add(function)
    invoked: dict[str, set[str]] = {name: set() for name in functions}
    for role, statement in document.statements(deployed):
        sender = role.removesuffix("Role")
        if sender not in functions or "Principal" in statement:
            continue
        actions = {action.partition(":")[2] for action in as_list(statement["Action"])}
        for target in document.references(statement.get("Resource", [])):
            if "SendMessage" in actions:
                invoked[sender] |= consumers.get(target, set())
            if "InvokeFunction" in actions:
                invoked[sender] |= {target} & set(functions)
    return invoked


def in_loops(graph: dict[str, set[str]]) -> set[str]:
    """The names that can reach themselves."""

    def reachable(name: str) -> set[str]:
        found: set[str] = set()
        todo = [name]
        while todo:
            new = graph[todo.pop()] - found
            found |= new
            todo += new
        return found

    return {name for name in graph if name in reachable(name)}


def test_a_loop_through_another_function_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}, "e": set[str]()}
    assert in_loops(graph) == {"b", "c", "d"}


def test_the_graph_has_the_edges_that_a_loop_would_be_made_of(deployed: dict[str, Any]) -> None:
    graph = invoked_by(deployed)
    assert "NotifyClient" in graph["PublishEvents"]
    assert "SettleCallback" in graph["CarrierWebhook"]
    assert "AcceptTrigger" in graph["TriggerEvent"]


def test_lambda_is_told_of_each_loop_and_of_nothing_else(deployed: dict[str, Any]) -> None:
    functions = document.source()["Resources"]
    allowed = {
        name
        for name, properties in of_type(deployed, "AWS::Lambda::Function").items()
        if properties.get("RecursiveLoop") == "Allow"
    }
    explained = {
        name
        for name, resource in functions.items()
        if len(resource.get("Metadata", {}).get("RecursiveLoopReason", "").split()) >= 5
    }
    assert allowed == explained == in_loops(invoked_by(deployed))
