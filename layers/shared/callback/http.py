"""HTTP API v2 events in, answers out. The only module that knows problem+json (RFC 9457).

Only entry points import this: a use case returns a result or raises a refusal.
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
Answer = dict[str, Any]


def answer(
    routes: Mapping[str, Callable[[Event], Answer]],
    event: Event,
    *,
    with_parameters: Collection[str] = (),
) -> Answer:
    """Call the route's function; a CallbackError becomes its problem+json.

    Of the routes of clients those in `with_parameters` take a query, and look at it themselves.
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
    """A wish such as dry_run must not be passed over. What the carrier, whom no authorizer lets
    in, has in its URLs is no wish of a client's. Raises InvalidRequest."""
    if "authorizer" in event["requestContext"] and (unknown := query(event)):
        code, message = "extra_forbidden", "This takes no parameters."
        raise InvalidRequest([{"field": n, "code": code, "message": message} for n in unknown])


def problem(error: CallbackError) -> Answer:
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


def json_reply(status: int, body: Any, headers: dict[str, str] | None = None) -> Answer:
    return _reply(status, json.dumps(body), "application/json", headers)


def location(callback_id: str) -> dict[str, str]:
    """The header that says where the callback is read."""
    return {"Location": f"/voice/call/callback/{callback_id}"}


def xml_reply(document: str) -> Answer:
    return _reply(200, document, "text/xml; charset=utf-8")


def page_reply(document: str) -> Answer:
    """An HTML page that may run nothing and fetch nothing."""
    return _reply(
        200,
        document,
        "text/html; charset=utf-8",
        {
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            "X-Content-Type-Options": "nosniff",
        },
    )


def wav_reply(audio: bytes) -> Answer:
    reply = _reply(
        200,
        base64.b64encode(audio).decode(),
        "audio/wav",
        {"Cache-Control": "public, max-age=604800, immutable"},
    )
    return reply | {"isBase64Encoded": True}


def no_content() -> Answer:
    return {"statusCode": 204}


def _reply(
    status: int, body: str, content_type: str, headers: dict[str, str] | None = None
) -> Answer:
    return {
        "statusCode": status,
        "headers": {"Content-Type": content_type, **(headers or {})},
        "body": body,
    }


def body(event: Event) -> bytes:
    """The raw body; API Gateway base64-encodes what it does not take for text."""
    raw = event.get("body") or ""
    return base64.b64decode(raw) if event.get("isBase64Encoded") else raw.encode()


def query(event: Event) -> dict[str, str]:
    return dict(event.get("queryStringParameters") or {})


def path(event: Event, name: str) -> str:
    return str(event["pathParameters"][name])


def authorized(tenant: str, key_id: str, scopes: Collection[Scope]) -> dict[str, str]:
    """What the authorizer tells of a caller, for `tenant` to read behind the gateway."""
    return {"tenant": tenant, "key_id": key_id, "scopes": " ".join(sorted(scopes))}


def tenant(event: Event, *scopes: Scope) -> str:
    """Whose request this is, by the authorizer's word and nobody else's.

    Raises ScopeMissing for a key that may not do what the route does: it needs one of `scopes`, of
    which the first is told; without them, to read or to write.
    """
    caller = event["requestContext"]["authorizer"]["lambda"]
    method = event["routeKey"].partition(" ")[0]
    needed = scopes or (Scope.READ if method == "GET" else Scope.WRITE,)
    if not set(needed) & set(caller["scopes"].split()):
        wanted = " or ".join(needed)
        raise ScopeMissing(f"This needs a key with the scope {wanted}.", scope=needed[0])
    return str(caller["tenant"])


def header(event: Event, name: str) -> str | None:
    """`name` in lower case, as HTTP API writes it."""
    return event["headers"].get(name)  # type: ignore[no-any-return]


def route_path(event: Event) -> str:
    """The path of the route as it is configured, whatever stage or base path serves it."""
    _, _, path = event["routeKey"].partition(" ")
    for name, value in (event.get("pathParameters") or {}).items():
        path = path.replace(f"{{{name}}}", value)
    query = event.get("rawQueryString")
    return f"{path}?{query}" if query else path
