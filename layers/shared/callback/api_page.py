"""The API's document as one HTML page: no script, nothing fetched, everything escaped."""

import json
from collections.abc import Iterable
from html import escape
from typing import Any

Schema = dict[str, Any]

_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border: 1px solid #bbb; padding: .3rem .6rem; text-align: left; vertical-align: top; }
code, pre { font-family: monospace; overflow-wrap: anywhere; }
pre { background: #f2f2f2; padding: .6rem; white-space: pre-wrap; }
"""


def of(document: Schema) -> str:
    """The page for an OpenAPI document as `api_document.of` makes it."""
    info = document["info"]
    operations = [
        _operation(path, method, operation, item.get("parameters", []))
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]
    told = [
        _operation("to your endpoint", method, operation, [])
        for item in document["webhooks"].values()
        for method, operation in item.items()
    ]
    schemas = [_schema(*pair) for pair in document["components"]["schemas"].items()]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head>\n<body>",
            f"<h1>{escape(info['title'])}</h1>",
            *(f"<p>{escape(text)}</p>" for text in info["description"].split("\n\n")),
            f"<p>At {_code(document['servers'][0]['url'])};",
            'for programs: <a href="openapi.json">openapi.json</a>.</p>',
            *operations,
            *told,
            "<h2>Schemas</h2>",
            *schemas,
            "</body>\n</html>\n",
        ]
    )


def _operation(path: str, method: str, operation: Schema, shared: list[Schema]) -> str:
    parts = [
        f'<h2 id="{escape(operation["operationId"])}">{_code(f"{method.upper()} {path}")}</h2>',
        f"<p><b>{escape(operation['summary'])}.</b> {escape(operation.get('description', ''))}</p>",
    ]
    parameters = [*shared, *operation.get("parameters", [])]
    if parameters:
        parts.append(_table(("parameter", "in", "type", ""), map(_parameter, parameters)))
    if "requestBody" in operation:
        for kind, content in operation["requestBody"]["content"].items():
            parts.append(f"<p>Body, {_code(kind)}: {_type(content['schema'])}</p>")
            parts.append(f"<pre>{escape(json.dumps(content['example'], indent=2))}</pre>")
    parts.append(_table(("answer", "means", "body", "headers"), _answers(operation["responses"])))
    return "\n".join(parts)


def _parameter(parameter: Schema) -> list[str]:
    needed = "Required. " if parameter["required"] else ""
    return [
        _code(parameter["name"]),
        escape(parameter["in"]),
        _type(parameter["schema"]),
        escape(needed + parameter.get("description", "")),
    ]


def _answers(responses: Schema) -> Iterable[list[str]]:
    for status, response in sorted(responses.items()):
        bodies = [
            f"{_code(kind)}: {_type(content['schema'])}"
            for kind, content in response["content"].items()
        ]
        headers = map(_code, response.get("headers", {}))
        yield [status, escape(response["description"]), "<br>".join(bodies), ", ".join(headers)]


def _schema(name: str, schema: Schema) -> str:
    heading = f'<h3 id="{escape(name)}">{escape(name)}</h3>'
    about = f"<p>{escape(schema['description'])}</p>" if "description" in schema else ""
    if "properties" not in schema:
        return f"{heading}{about}<p>{_type(schema)}</p>"
    required = schema.get("required", [])
    rows = (
        [
            _code(field),
            "required" if field in required else "",
            _type(described),
            escape(described.get("description", "")),
        ]
        for field, described in schema["properties"].items()
    )
    return heading + about + _table(("field", "", "type", ""), rows)


def _type(schema: Schema) -> str:
    """A schema in a few words, with links to those that have a place of their own."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        words = f'<a href="#{escape(name)}">{escape(name)}</a>'
    elif options := schema.get("anyOf") or schema.get("oneOf"):
        words = " or ".join(map(_type, options))
    elif "const" in schema:
        words = _code(json.dumps(schema["const"]))
    elif "enum" in schema:
        words = ", ".join(_code(json.dumps(value)) for value in schema["enum"])
    elif schema.get("type") == "array":
        words = f"list of {_type(schema['items'])}"
    else:
        kind = schema["type"]
        words = escape(kind if isinstance(kind, str) else " or ".join(kind))
    limits = [
        f"{_LIMITS[key]} {_code(str(value))}" for key, value in schema.items() if key in _LIMITS
    ]
    if schema.get("default") is not None:
        limits.append(f"default {_code(json.dumps(schema['default']))}")
    return ", ".join([words, *limits])


_LIMITS = {
    "format": "format",
    "pattern": "pattern",
    "minimum": "from",
    "maximum": "to",
    "minLength": "characters from",
    "maxItems": "at most",
}


def _table(head: Iterable[str], rows: Iterable[list[str]]) -> str:
    """Cells are HTML already."""
    return "\n".join(
        [
            f"<table><tr>{''.join(f'<th>{title}</th>' for title in head)}</tr>",
            *(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows),
            "</table>",
        ]
    )


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
