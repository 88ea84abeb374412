"""template.yaml as CloudFormation gets it: translated offline, intrinsic functions still in it.

tests/local/template.py reads what the local stack can run; here it is what will be deployed.
"""

import copy
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import yaml
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "template.yaml"
LAYER = ROOT / "layers" / "shared"

_CODE = ("CodeUri", "ContentUri")
_IN_SUB = re.compile(r"\$\{([^!}][^}]*)\}")


def source() -> dict[str, Any]:
    """The template as written, each intrinsic function in its long form."""
    return copy.deepcopy(_parsed(TEMPLATE.read_text(encoding="utf-8")))


@functools.cache
def _parsed(text: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml_parse(text)
    return document


def translated() -> dict[str, Any]:
    """The template after SAM's transform, its code in S3 and its workflow's definition inline."""
    document = source()
    for resource in document["Resources"].values():
        properties = resource.get("Properties", {})
        for key in _CODE:
            if key in properties:
                properties[key] = f"s3://bucket/{properties[key]}"
        if "DefinitionUri" in properties:
            path = ROOT / properties.pop("DefinitionUri")
            properties["Definition"] = yaml.safe_load(path.read_text(encoding="utf-8"))
    translator = Translator(
        managed_policy_map={},
        sam_parser=Parser(),
        boto_session=boto3.Session(region_name="us-east-1"),
    )
    parameters = {name: p["Default"] for name, p in document["Parameters"].items()}
    result: dict[str, Any] = translator.translate(document, parameters)
    return result


def of_type(document: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Logical id to properties of each resource of a type."""
    return {
        name: resource.get("Properties", {})
        for name, resource in document["Resources"].items()
        if resource["Type"] == kind
    }


def references(value: Any) -> Iterator[str]:
    """Every name that Ref, Fn::GetAtt or Fn::Sub in `value` speaks of, attributes cut off."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "Ref":
                yield item
            elif key == "Fn::GetAtt":
                yield item.split(".")[0] if isinstance(item, str) else item[0]
            elif key == "Fn::Sub":
                text, given = (item, {}) if isinstance(item, str) else item
                names = {name.split(".")[0] for name in _IN_SUB.findall(text)}
                yield from names - set(given)
                yield from references(given)
            else:
                yield from references(item)


def dependencies(document: dict[str, Any]) -> dict[str, set[str]]:
    """What CloudFormation makes before each resource."""
    resources = document["Resources"]
    graph = {}
    for name, resource in resources.items():
        explicit = resource.get("DependsOn", [])
        explicit = [explicit] if isinstance(explicit, str) else explicit
        graph[name] = {*references(resource.get("Properties", {})), *explicit} & set(resources)
    return graph


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(logical id of the resource it stands in, statement) of every policy, trust included."""
    for name, resource in document["Resources"].items():
        for policy in _policies(resource.get("Properties", {})):
            for statement in as_list(policy["Statement"]):
                yield name, statement


def _policies(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _policies(item)
    elif isinstance(value, dict):
        if "Statement" in value:
            yield value
            return
        for item in value.values():
            yield from _policies(item)
