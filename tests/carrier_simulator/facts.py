"""Holds every answer of the simulator against Twilio's OpenAPI description.

The description is carried as an extract of facts, see data/extract.py: it is 1.9 MB, and the only
package that has it is an npm one.
"""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from jsonschema import Draft202012Validator, FormatChecker

FACTS = json.loads(
    (Path(__file__).parent / "data" / "twilio_api_v2010_facts.json").read_text("utf-8")
)
# On real answers, yet not in the description (release 2.6.7).
UNDESCRIBED = {"api.v2010.account.call": {"annotation"}}
SID = r"[A-Z]{2}[0-9a-f]{32}"
ACCOUNT = rf"/2010-04-01/Accounts/{SID}"
ONE = [
    (rf"{ACCOUNT}\.json", "api.v2010.account"),
    (rf"{ACCOUNT}/Calls(/{SID})?\.json", "api.v2010.account.call"),
    (rf"{ACCOUNT}/Conferences/{SID}\.json", "api.v2010.account.conference"),
    (
        rf"{ACCOUNT}/Conferences/[^/]+/Participants(/[^/]+)?\.json",
        "api.v2010.account.conference.participant",
    ),
    (rf"{ACCOUNT}/Recordings/{SID}\.json", "api.v2010.account.recording"),
    (rf"{ACCOUNT}/Messages(/{SID})?\.json", "api.v2010.account.message"),
    (rf"{ACCOUNT}/IncomingPhoneNumbers/{SID}\.json", "api.v2010.account.incoming_phone_number"),
    (rf"{ACCOUNT}/OutgoingCallerIds/{SID}\.json", "api.v2010.account.outgoing_caller_id"),
]
MANY = {
    "calls": "api.v2010.account.call",
    "conferences": "api.v2010.account.conference",
    "participants": "api.v2010.account.conference.participant",
    "recordings": "api.v2010.account.recording",
    "messages": "api.v2010.account.message",
    "incoming_phone_numbers": "api.v2010.account.incoming_phone_number",
    "outgoing_caller_ids": "api.v2010.account.outgoing_caller_id",
}
formats = FormatChecker(())
DATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} "
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d{2}:\d{2}:\d{2} \+0000"
)


@formats.checks("date-time-rfc-2822")
def is_date(value: object) -> bool:
    return not isinstance(value, str) or bool(DATE.fullmatch(value))


@formats.checks("currency")
def is_currency(value: object) -> bool:
    return not isinstance(value, str) or bool(re.fullmatch(r"[A-Z]{3}", value))


def _schema(node: dict[str, Any], extra: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The description's dialect (`nullable`) as JSON Schema: every field there, none besides."""
    schema: dict[str, Any] = {k: v for k, v in node.items() if k not in ("nullable", "properties")}
    if "properties" in node:
        schema["properties"] = {name: _schema(part) for name, part in node["properties"].items()}
        schema["properties"] |= {name: {} for name in extra}
        schema["required"] = sorted(schema["properties"])
        schema["additionalProperties"] = False
    if node.get("nullable"):
        if "type" in schema:
            schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return schema


VALIDATORS = {
    name: Draft202012Validator(
        _schema(node, frozenset(UNDESCRIBED.get(name, ()))), format_checker=formats
    )
    for name, node in FACTS["schemas"].items()
}


def check(method: str, path: str, status: int, body: Any) -> None:
    """Raises AssertionError when an answer is not as described."""
    if status >= 400:
        assert set(body) in (
            {"code", "message", "more_info", "status"},
            {"code", "message", "more_info", "status", "detail"},
        ), body
        assert body["status"] == status
        assert body["more_info"].endswith(f"/{body['code']}")
        return
    key = next((key for key in MANY if key in body), None) if method == "GET" else None
    if key:
        assert sorted(body) == FACTS["lists"][key]
        assert status == 200
        for item in body[key]:
            _hold(MANY[key], item)
        return
    for pattern, name in ONE:
        if re.fullmatch(pattern, path):
            _hold(name, body)
            return
    raise AssertionError(f"no schema is known for {method} {path}")


def _hold(name: str, item: Any) -> None:
    errors = sorted(VALIDATORS[name].iter_errors(item), key=str)
    assert not errors, f"{name}: " + "; ".join(
        f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in errors
    )


def check_response(response: requests.Response, *_: Any, **__: Any) -> None:
    """A hook for the SDK's session: each answer it receives is held against the description."""
    if response.status_code == 204:
        assert not response.content
        return
    if response.headers["Content-Type"].startswith("application/json"):
        method = response.request.method or ""
        path = urlsplit(response.request.url or "").path
        try:
            body = response.json()
        except ValueError:
            return  # cut short by a fault rule, on purpose
        check(method, str(path), response.status_code, body)
