"""The OpenAPI document as one HTML page: no script, no requests, everything escaped."""

import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

Schema = dict[str, Any]

# On a narrow screen a row is a block. Each of its cells is a line that names its column.
_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
body { overflow-wrap: break-word; }
h2 { border-top: 1px solid #bbb; margin-top: 2.5rem; padding-top: 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border: 1px solid #bbb; padding: .3rem .6rem; text-align: left; vertical-align: top; }
code, pre { font-family: monospace; overflow-wrap: anywhere; }
td:first-child code { overflow-wrap: normal; }
pre { background: #f2f2f2; padding: .6rem; white-space: pre-wrap; }
@media (max-width: 44rem) {
  h2 { font-size: 1.1rem; }
  table, tbody, tr, td { display: block; }
  tr { border: 1px solid #bbb; padding: .3rem .6rem; margin-bottom: -1px; }
  tr:first-child, td:empty { display: none; }
  td { border: 0; padding: 0; }
  td:first-child { font-weight: bold; }
  td:first-child code { overflow-wrap: anywhere; }
  td[data-column]:not(:first-child)::before { content: attr(data-column) ": "; color: #666; }
}
"""


def render_page(document: Schema) -> str:
    """The page for an OpenAPI document from `openapi.build_document`."""
    info = document["info"]
    schemas = [_schema(*pair) for pair in document["components"]["schemas"].items()]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head>\n<body>",
            f"<h1>{escape(info['title'])}</h1>",
            *(f"<p>{_text(text)}</p>" for text in info["description"].split("\n\n")),
            f"<p>Base URL: {_code(document['servers'][0]['url'])}.",
            'OpenAPI document: <a href="openapi.json">openapi.json</a>.</p>',
            _contents(document),
            _authentication(document),
            *(_operation(*each) for each in _operations(document)),
            '<h2 id="schemas">Schemas</h2>',
            *schemas,
            "</body>\n</html>\n",
        ]
    )


def _operations(document: Schema) -> Iterator[tuple[str, Schema, list[Schema]]]:
    """(its name, the operation, its path's parameters). The webhooks come last."""
    webhooks = [("to your endpoint", item) for item in document["webhooks"].values()]
    for path, item in [*document["paths"].items(), *webhooks]:
        for method, operation in item.items():
            if method != "parameters":
                yield f"{method.upper()} {path}", operation, item.get("parameters", [])


def _contents(document: Schema) -> str:
    entries = [
        ("authentication", escape(_AUTHENTICATION)),
        *(
            (operation["operationId"], f"{_code(name)}: {_text(operation['summary'])}")
            for name, operation, _ in _operations(document)
        ),
        ("schemas", "Schemas"),
    ]
    links = (f'<li><a href="#{escape(to)}">{text}</a></li>' for to, text in entries)
    return f"<nav><ul>{''.join(links)}</ul></nav>"


_AUTHENTICATION = "How to send your key"

# For each scheme (RFC 9110, 11.1): the header, and the arguments that make curl send it.
_KEY_FORMS: dict[str, tuple[str, str]] = {
    "bearer": (
        "Authorization: Bearer <key id>.<secret>",
        "-H 'Authorization: Bearer <key id>.<secret>'",
    ),
    "basic": (
        "Authorization: Basic <base64 of key id:secret>",
        "--user '<key id>:<secret>'",
    ),
}


def _authentication(document: Schema) -> str:
    schemes = document["components"]["securitySchemes"].values()
    rows = ([_code(_KEY_FORMS[each["scheme"]][0]), _text(each["description"])] for each in schemes)
    path, item = next(iter(document["paths"].items()))
    url = document["servers"][0]["url"] + path
    commands = (f"curl {_KEY_FORMS[each['scheme']][1]} {url}" for each in schemes)
    # Those of the first GET: no rule but the key's forbids it anything.
    responses = {status: item["get"]["responses"][status] for status in ("401", "403")}
    return "\n".join(
        [
            f'<h2 id="authentication">{_AUTHENTICATION}</h2>',
            "<p>Send your API key in one of these headers:</p>",
            _table(("header", ""), rows),
            f"<pre>{escape(chr(10).join(commands))}</pre>",
            "<p>Responses that concern the key:</p>",
            _responses(responses),
        ]
    )


def _operation(name: str, operation: Schema, shared: list[Schema]) -> str:
    parts = [
        f'<h2 id="{escape(operation["operationId"])}">{_code(name)}</h2>',
        f"<p><b>{_text(operation['summary'])}.</b> {_text(operation.get('description', ''))}</p>",
    ]
    parameters = [*shared, *operation.get("parameters", [])]
    if parameters:
        parts.append(_table(("parameter", "in", "type", ""), map(_parameter, parameters)))
    if "requestBody" in operation:
        for kind, content in operation["requestBody"]["content"].items():
            parts.append(f"<p>Body, {_code(kind)}: {_type(content['schema'])}</p>")
            parts.append(f"<pre>{escape(json.dumps(content['example'], indent=2))}</pre>")
    parts.append(_responses(operation["responses"]))
    return "\n".join(parts)


def _parameter(parameter: Schema) -> list[str]:
    required = "Required. " if parameter["required"] else ""
    return [
        _code(parameter["name"]),
        escape(parameter["in"]),
        _type(parameter["schema"]),
        _text(required + parameter.get("description", "")),
    ]


def _responses(responses: Schema) -> str:
    return _table(("status", "meaning", "body", "headers"), _response_rows(responses))


def _response_rows(responses: Schema) -> Iterable[list[str]]:
    for status, response in sorted(responses.items()):
        bodies = [
            f"{_code(kind)}: {_type(content['schema'])}"
            for kind, content in response["content"].items()
        ]
        headers = map(_code, response.get("headers", {}))
        yield [status, _text(response["description"]), "<br>".join(bodies), ", ".join(headers)]


def _schema(name: str, schema: Schema) -> str:
    heading = f'<h3 id="{escape(name)}">{escape(name)}</h3>'
    about = f"<p>{_text(schema['description'])}</p>" if "description" in schema else ""
    if "properties" not in schema:
        return f"{heading}{about}<p>{_type(schema)}</p>"
    required = schema.get("required", [])
    rows = (
        [
            _code(field),
            "required" if field in required else "",
            _type(described),
            _text(described.get("description", "")),
        ]
        for field, described in schema["properties"].items()
    )
    return heading + about + _table(("field", "", "type", ""), rows)


def _type(schema: Schema) -> str:
    """A schema in a few words, with links to named schemas."""
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
        f"{limit} {_code(str(schema[key]))}" for key, limit in _LIMITS.items() if key in schema
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


def _table(head: tuple[str, ...], rows: Iterable[list[str]]) -> str:
    """The cells are HTML already."""
    return "\n".join(
        [
            f"<table><tr>{''.join(f'<th>{column}</th>' for column in head)}</tr>",
            *(f"<tr>{''.join(map(_cell, head, row))}</tr>" for row in rows),
            "</table>",
        ]
    )


def _cell(column: str, cell: str) -> str:
    return f'<td data-column="{column}">{cell}</td>' if column else f"<td>{cell}</td>"


def _text(text: str) -> str:
    """A text of the document as HTML. Text in backticks becomes code."""
    parts = re.split("`([^`]+)`", text)
    return "".join(_code(part) if index % 2 else escape(part) for index, part in enumerate(parts))


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
