"""Keep of botocore's data what our code calls: trim_botocore.py FOLDER, botocore's own folder.

botocore describes a service in one JSON document, with every operation, shape and sentence of its
manual. A client reads all of it at each cold start, and most of that time goes into what is never
called. The documents stay what botocore can read; what remains in them is unchanged.
"""

import gzip
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# A test compares this list with the calls in the code of the layer and of the functions.
OPERATIONS = {
    "dynamodb": {
        "BatchGetItem",
        "BatchWriteItem",
        "DeleteItem",
        "GetItem",
        "PutItem",
        "Query",
        "TransactWriteItems",
        "UpdateItem",
    },
    "events": {"PutEvents"},
    "sqs": {"SendMessage", "SendMessageBatch"},
    "ssm": {"GetParameter"},
    "stepfunctions": {"SendTaskFailure", "SendTaskSuccess", "StartExecution"},
}

# What a client reads of a service's folder. Waiters, examples and others are not used.
_MODEL, _RULES, _PAGINATORS = "service-2", "endpoint-rule-set-1", "paginators-1"

_FOR_PEOPLE = {"documentation", "documentationUrl", "examples"}


def trim(botocore: Path) -> None:
    """Rewrite the data of an installed botocore. Raises KeyError for an operation it lacks."""
    data = botocore / "data"
    prefixes = set()
    for folder in [path for path in data.iterdir() if path.is_dir()]:
        if folder.name not in OPERATIONS:
            shutil.rmtree(folder)
            continue
        *older, newest = sorted(folder.iterdir())  # by date; botocore takes the newest
        for version in older:
            shutil.rmtree(version)
        prefixes.add(_trim_service(newest, OPERATIONS[folder.name]))
    _trim_endpoints(data / "endpoints.json", prefixes)


def _trim_service(folder: Path, operations: set[str]) -> str:
    """Returns the name that endpoints.json has for the service."""
    model = _trim_model(_read(folder, _MODEL), operations)
    rules = _without_words(_read(folder, _RULES))
    pages = _read(folder, _PAGINATORS)["pagination"] if _has(folder, _PAGINATORS) else {}
    shutil.rmtree(folder)
    folder.mkdir()
    _write(folder / f"{_MODEL}.json", model)
    _write(folder / f"{_RULES}.json", rules)
    kept = {name: page for name, page in pages.items() if name in operations}
    if kept:
        _write(folder / f"{_PAGINATORS}.json", {"pagination": kept})
    return str(model["metadata"]["endpointPrefix"])


def _trim_model(model: dict[str, Any], operations: set[str]) -> dict[str, Any]:
    kept = {name: model["operations"][name] for name in sorted(operations)}
    return _without_words(model | {"operations": kept, "shapes": _reachable(kept, model["shapes"])})


def _reachable(operations: Any, shapes: dict[str, Any]) -> dict[str, Any]:
    """The shapes that the operations name, and those that these shapes name."""
    found: dict[str, Any] = {}
    left = list(_named(operations))
    while left:
        name = left.pop()
        if name not in found:
            found[name] = shapes[name]
            left += _named(shapes[name])
    return {name: shapes[name] for name in shapes if name in found}


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _named(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "shape" and isinstance(each, str):
                yield each
            else:
                yield from _named(each)


def _without_words(value: Any) -> Any:
    """The value without descriptions. A member of a shape may have such a name: it is a dict."""
    if isinstance(value, list):
        return [_without_words(each) for each in value]
    if isinstance(value, dict):
        return {
            key: _without_words(each)
            for key, each in value.items()
            if key not in _FOR_PEOPLE or (isinstance(each, dict) and "shape" in each)
        }
    return value


def _trim_endpoints(path: Path, services: set[str]) -> None:
    """Every partition and region stays."""
    endpoints = json.loads(path.read_text(encoding="utf-8"))
    for partition in endpoints["partitions"]:
        partition["services"] = {
            name: service for name, service in partition["services"].items() if name in services
        }
    _write(path, endpoints)


def _has(folder: Path, name: str) -> bool:
    return any((folder / f"{name}.json{end}").exists() for end in ("", ".gz"))


def _read(folder: Path, name: str) -> Any:
    packed = folder / f"{name}.json.gz"
    if packed.exists():
        return json.loads(gzip.decompress(packed.read_bytes()))
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def _write(path: Path, document: Any) -> None:
    """Plain, because unpacking costs a cold start more than reading."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
