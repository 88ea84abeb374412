"""Reads HTTP API v2 events and builds responses. Only this module knows problem+json (RFC 9457).

Only entry points import this module. A use case returns a result or raises a refusal.
"""

import base64
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from aws_lambda_powertools import Logger

from callback.errors import CallbackError, InvalidRequest, ScopeMissing
from callback.scopes import Scope

logger = Logger(child=True)

Event = dict[str, Any]
Response = dict[str, Any]


def dispatch(
    routes: Mapping[str, Callable[[Event], Response]],
    event: Event,
    *,
    with_parameters: Collection[str] = (),
) -> Response:
    """Call the route's function. Render a CallbackError as problem+json.

    Client routes in `with_parameters` accept query parameters and validate them. Other client
    routes refuse them.
    """
    route = event["routeKey"]
    try:
        if route not in with_parameters:
            _refuse_parameters(event)
        return routes[route](event)
    except CallbackError as error:
        logger.info("request refused", code=error.code, status=error.status)
        return problem(error)


def _refuse_parameters(event: Event) -> None:
    """Refuse query parameters on a client's route: ignoring one, such as dry_run, would be wrong.

    Carrier webhooks also have parameters in their URLs. Their routes have no authorizer.
    Raises InvalidRequest.
    """
    if "authorizer" in event["requestContext"] and (unknown := query(event)):
        code, message = "extra_forbidden", "This operation takes no query parameters."
        raise InvalidRequest([{"field": n, "code": code, "message": message} for n in unknown])


def problem(error: CallbackError) -> Response:
    body = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        **error.members,
    }
    headers = dict(error.headers)
    if "callback_id" in error.members:
        headers |= location(error.members["callback_id"])
    return _reply(error.status, json.dumps(body), "application/problem+json", headers)


def json_reply(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    return _reply(status, json.dumps(body), "application/json", headers)


def location(callback_id: str) -> dict[str, str]:
    """The Location header of a callback."""
    return {"Location": f"/voice/call/callback/{callback_id}"}


def xml_reply(document: str) -> Response:
    return _reply(200, document, "text/xml; charset=utf-8")


def page_reply(document: str) -> Response:
    """An HTML page that cannot run scripts or load anything."""
    return _reply(
        200,
        document,
        "text/html; charset=utf-8",
        {
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            "X-Content-Type-Options": "nosniff",
        },
    )


def wav_reply(audio: bytes) -> Response:
    reply = _reply(
        200,
        base64.b64encode(audio).decode(),
        "audio/wav",
        {"Cache-Control": "public, max-age=604800, immutable"},
    )
    return reply | {"isBase64Encoded": True}


def no_content() -> Response:
    return {"statusCode": 204}


def _reply(
    status: int, body: str, content_type: str, headers: dict[str, str] | None = None
) -> Response:
    return {
        "statusCode": status,
        "headers": {"Content-Type": content_type, **(headers or {})},
        "body": body,
    }


def body(event: Event) -> bytes:
    """The raw body. API Gateway base64-encodes a body that it does not consider text."""
    raw = event.get("body") or ""
    return base64.b64decode(raw) if event.get("isBase64Encoded") else raw.encode()


def query(event: Event) -> dict[str, str]:
    return dict(event.get("queryStringParameters") or {})


def path(event: Event, name: str) -> str:
    return str(event["pathParameters"][name])


def authorizer_context(tenant: str, key_id: str, scopes: Collection[Scope]) -> dict[str, str]:
    """The context that the authorizer passes to the routes. `tenant` reads it."""
    return {"tenant": tenant, "key_id": key_id, "scopes": " ".join(sorted(scopes))}


def tenant(event: Event, *scopes: Scope) -> str:
    """The caller's tenant, from the authorizer's context alone.

    The key needs one of `scopes`. Without `scopes`, a GET needs READ and other methods need WRITE.
    Raises ScopeMissing, whose member `scope` is the first of them.
    """
    caller = event["requestContext"]["authorizer"]["lambda"]
    method = event["routeKey"].partition(" ")[0]
    sufficient = scopes or (Scope.READ if method == "GET" else Scope.WRITE,)
    if not set(sufficient) & set(caller["scopes"].split()):
        scope = " or ".join(sufficient)
        raise ScopeMissing(f"Use a key with the scope {scope}.", scope=sufficient[0])
    return str(caller["tenant"])


def header(event: Event, name: str) -> str | None:
    """A request header. `name` is in lower case, as in HTTP API events."""
    return event["headers"].get(name)  # type: ignore[no-any-return]


def route_path(event: Event) -> str:
    """Path and query of the request, without a stage or a base path."""
    _, _, path = event["routeKey"].partition(" ")
    for name, value in (event.get("pathParameters") or {}).items():
        path = path.replace(f"{{{name}}}", value)
    query = event.get("rawQueryString")
    return f"{path}?{query}" if query else path
