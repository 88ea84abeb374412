"""The client API as an OpenAPI 3.1 document, made from what the code itself goes by.

Requests are the models of `schema`, refusals the classes of `errors`; only the record is
described here a second time, and tests compare it with what is answered.
"""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from callback import errors
from callback.lifecycle import events
from callback.lifecycle.events import EventType
from callback.lifecycle.models import (
    CallbackStatus,
    LegName,
    LegOutcome,
    LegStatus,
    Order,
    Source,
    Step,
)
from callback.numbering.number_types import NumberType
from callback.requests import idempotency
from callback.requests.schema import (
    CallbackRequest,
    CreateQuery,
    ErasureRequest,
    ListRequest,
    PacketRequest,
)
from callback.scopes import Scope
from callback.webhooks.deliveries import DeliveryStatus
from callback.webhooks.schema import EndpointRequest, FailedRequest, Selection

Schema = dict[str, Any]

_ABOUT = """\
Calls two parties one after the other and joins them in one conversation.

Every request carries an API key. One with the scope `callbacks:read` may read, with \
`callbacks:write` do everything else but erase, and with `callbacks:erase` erase a number and read \
what came of it.

Times are RFC 3339 UTC, durations whole seconds, and what is not known yet is null. Fields and \
parameters that are not described are refused. Every refusal is problem+json (RFC 9457) with a \
stable `code`; what the gateway refuses before it reaches us is a JSON object with a `message`."""


def of(public_url: str, *, key_required: bool) -> Schema:
    """The document of a deployment at `public_url` that does or does not ask for a key."""
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {"title": "Voice Callback", "version": "1", "description": _ABOUT},
        "servers": [{"url": public_url.rstrip("/")}],
        "security": [{"bearer": []}, {"basic": []}],
        "paths": {
            "/voice/call/callback": {"post": _create(key_required), "get": _list()},
            "/voice/call/callback/{callback_id}": {
                "parameters": [_id("callback_id")],
                "get": _read(),
                "delete": _cancel(),
            },
            "/voice/trigger/packet": {"post": _packet()},
            "/voice/erasure": {"post": _erase(), "get": _list_erasures()},
            "/voice/erasure/{erasure_id}": {
                "parameters": [_id("erasure_id")],
                "get": _read_erasure(),
            },
            **_webhook_paths(),
        },
        "webhooks": {"event": {"post": _event()}},
        "components": {
            "securitySchemes": _SECURITY_SCHEMES,
            "schemas": {**_request_schemas(), **_RECORD_SCHEMAS, **_problem_schemas()},
        },
    }


# A key has scopes: GET needs one, erasing another (which reads erasures too), everything else the
# third; see `http.tenant`.
_SECURITY_SCHEMES: Schema = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "<key id>.<secret>",
        "description": "An API key: its id, a dot and its secret (RFC 6750).",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": (
            "The same key: its id as the user, its secret as the password, together in base64"
            " (RFC 7617)."
        ),
    },
}


# ------------------------------------------------------------------------------------ operations
def _create(key_required: bool) -> Schema:
    return {
        "operationId": "createCallback",
        "summary": "Call two parties and join them",
        "description": (
            "Emergency numbers are refused, also as an extension or the user of a sip: address."
            " With an Idempotency-Key a repetition gets the first answer, byte for byte, for 24"
            " hours. Before anything is stored or spent the callback is held against what your"
            " tenant may do; a refusal names the `leg` that it is about."
        ),
        "parameters": [
            *_query(CreateQuery),
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": key_required,
                "description": (
                    "A UUID will do; bare or in double quotes. Your tenant may have to send one."
                ),
                "schema": {"type": "string", "pattern": f"^({idempotency.KEY_PATTERN})$"},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _ref("CallbackRequest"),
                    "example": {
                        "leg_A": {"to": "1000123", "from": "1000125"},
                        "leg_B": {"to": "1000125", "from": "1000123"},
                    },
                }
            },
        },
        "responses": {
            "200": {
                "description": "With `dry_run`: what would happen. Nothing was done.",
                "headers": _RATES,
                "content": _json("Rehearsal"),
            },
            "202": {
                "description": "Accepted: the record as it stands.",
                "headers": {
                    "Location": _header("Where the record is.", required=True),
                    "Idempotent-Replayed": _header("`true`: this answer was given before."),
                    **_RATES,
                },
                "content": _json("Callback"),
                "links": _LINKS,
            },
            "400": _refusal(
                errors.InvalidRequest,
                errors.BodyNotJson,
                errors.BodyNotUtf8,
                errors.InvalidIdempotencyKey,
                errors.IdempotencyKeyMissing,
            ),
            **_of_creating(),
        },
    }


def _of_creating() -> Schema:
    """Refusals of whatever asks for a callback."""
    return {
        "409": _refusal(errors.CallbackInProgress, errors.RequestInProgress),
        "413": _refusal(errors.BodyTooLarge, by_gateway=True),
        "422": _refusal(errors.IdempotencyKeyReused, errors.CarrierRejected),
        "503": _refusal(errors.StoreContended, errors.CallingStopped, by_gateway=True),
        **_BY_GATEWAY,
        "403": _refusal(errors.ScopeMissing, *_FORBIDDEN, by_gateway=True),
        "429": _refusal(*_TOO_MANY, by_gateway=True),
    }


def _packet() -> Schema:
    schema = {"schema": _ref("PacketRequest"), "example": {"a": "1000123", "b": "1000125"}}
    return {
        "operationId": "sendPacket",
        "summary": "The same for small devices: two parties in, an id out",
        "description": (
            "A form or a JSON object, whatever Content-Type says. The leading + of a number may"
            " stand in a form as it is. With an `id` a repetition gets the first answer for 24"
            " hours."
        ),
        "requestBody": {
            "required": True,
            "content": {
                "application/x-www-form-urlencoded": schema,
                "application/json": schema,
            },
        },
        "responses": {
            "202": {
                "description": "Accepted.",
                "headers": {
                    "Location": _header("Where the record is.", required=True),
                    "Idempotent-Replayed": _header("`true`: this answer was given before."),
                    **_RATES,
                },
                "content": _json("Accepted"),
                "links": _LINKS,
            },
            "400": _refusal(
                errors.InvalidRequest,
                errors.BodyNotJson,
                errors.BodyNotUtf8,
                errors.IdempotencyKeyMissing,
            ),
            **_of_creating(),
        },
    }


def _list() -> Schema:
    return {
        "operationId": "listCallbacks",
        "summary": "Callbacks, newest first",
        "parameters": _query(ListRequest),
        "responses": {
            "200": {"description": "One page.", "content": _json("CallbackPage")},
            "400": _refusal(errors.InvalidRequest),
            "503": _refusal(by_gateway=True),
            **_BY_GATEWAY,
        },
    }


def _read() -> Schema:
    return {
        "operationId": "readCallback",
        "summary": "One callback",
        "responses": {
            "200": {"description": "The record as it stands.", "content": _json("Callback")},
            **_PARAMETERS,
            "404": _refusal(errors.CallbackNotFound),
            "503": _refusal(by_gateway=True),
            **_BY_GATEWAY,
        },
    }


def _cancel() -> Schema:
    return {
        "operationId": "cancelCallback",
        "summary": "Cancel a callback, whatever state it is in",
        "description": (
            "A planned leg is never dialed, a ringing one stops ringing, a live one is hung up."
            " Canceling twice is fine. The record stays."
        ),
        "responses": {
            "202": {"description": "The record as it stands.", "content": _json("Callback")},
            **_PARAMETERS,
            "404": _refusal(errors.CallbackNotFound),
            "409": _refusal(errors.CallbackEnded),
            "503": _refusal(errors.StoreContended, by_gateway=True),
            **_BY_GATEWAY,
        },
    }


def _webhook_paths() -> Schema:
    missing = _refusal(errors.WebhookEndpointNotFound)
    contended = _refusal(errors.StoreContended, by_gateway=True)
    by_gateway = {"503": _refusal(by_gateway=True), **_BY_GATEWAY}
    return {
        "/voice/webhook/endpoint": {
            "put": {
                "operationId": "putWebhookEndpoint",
                "summary": "Set where you are told of your callbacks",
                "description": (
                    "The secret that signs is shown when the endpoint is new, and when it is"
                    " rotated, and never again. An endpoint that was disabled is told again."
                ),
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": _ref("EndpointRequest"),
                            "example": {
                                "url": "https://hooks.example.com/callbacks",
                                "events": [Selection.CALLBACK_ENDED],
                            },
                        }
                    },
                },
                "responses": {
                    "200": {"description": "Changed.", "content": _json("Endpoint")},
                    "201": {
                        "description": "New, with its secret.",
                        "content": _json("EndpointWithSecret"),
                    },
                    "400": _refusal(errors.InvalidRequest, errors.BodyNotJson, errors.BodyNotUtf8),
                    "413": _refusal(errors.BodyTooLarge, by_gateway=True),
                    "503": contended,
                    **_BY_GATEWAY,
                },
            },
            "get": {
                "operationId": "readWebhookEndpoint",
                "summary": "Where you are told",
                "responses": {
                    "200": {"description": "Without its secret.", "content": _json("Endpoint")},
                    **_PARAMETERS,
                    "404": missing,
                    **by_gateway,
                },
            },
            "delete": {
                "operationId": "removeWebhookEndpoint",
                "summary": "Be told nothing any more",
                "description": "What is still to be delivered fails.",
                "responses": {
                    "204": {"description": "Removed, with its secret.", "content": {}},
                    **_PARAMETERS,
                    "404": missing,
                    **by_gateway,
                },
            },
        },
        "/voice/webhook/endpoint/rotate": {
            "post": {
                "operationId": "rotateWebhookSecret",
                "summary": "A new secret",
                "description": (
                    "For 24 hours the one before it signs as well, and so does every one that was"
                    " rotated meanwhile, five at most: who did not get the answer may ask again."
                ),
                "responses": {
                    "200": {
                        "description": "With the new secret.",
                        "content": _json("EndpointWithSecret"),
                    },
                    **_PARAMETERS,
                    "404": missing,
                    "503": contended,
                    **_BY_GATEWAY,
                    "429": _refusal(errors.TooManyRotations, by_gateway=True),
                },
            }
        },
        "/voice/webhook/endpoint/test": {
            "post": {
                "operationId": "testWebhookEndpoint",
                "summary": "Send a sample event",
                "responses": {
                    "202": {"description": "On its way.", "content": _json("Delivery")},
                    **_PARAMETERS,
                    "404": missing,
                    **by_gateway,
                },
            }
        },
        "/voice/webhook/failed": {
            "get": {
                "operationId": "listFailedDeliveries",
                "summary": "Events that your endpoint took at none of their attempts",
                "description": "The newest events first. They are kept for seven days.",
                "parameters": _query(FailedRequest),
                "responses": {
                    "200": {"description": "One page.", "content": _json("FailedPage")},
                    "400": _refusal(errors.InvalidRequest),
                    **by_gateway,
                },
            }
        },
        "/voice/webhook/failed/{delivery_id}/replay": {
            "parameters": [
                {
                    "name": "delivery_id",
                    "in": "path",
                    "required": True,
                    "description": "The `id` of one that is listed as failed.",
                    "schema": {"type": "string", "minLength": 1},
                }
            ],
            "post": {
                "operationId": "replayDelivery",
                "summary": "Send a failed event again, with all its attempts before it",
                "responses": {
                    "202": {"description": "On its way.", "content": _json("Delivery")},
                    **_PARAMETERS,
                    "404": _refusal(errors.DeliveryNotFound),
                    "503": contended,
                    **_BY_GATEWAY,
                },
            },
        },
    }


def _event() -> Schema:
    """What is sent to clients; see `events`."""
    return {
        "operationId": "receiveEvent",
        "summary": "What your endpoint is told, signed as Standard Webhooks 1.0.0 says",
        "description": (
            "At least once, and in no particular order: `sequence` counts a callback's events"
            " without gaps. The header webhook-id is the same at every attempt."
        ),
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": True,
                "description": about,
                "schema": _TEXT,
            }
            for name, about in (
                ("webhook-id", "Of the event; remember it to know a repetition."),
                ("webhook-timestamp", "Seconds since 1970, of this attempt."),
                ("webhook-signature", "One or, after a rotation, two: v1,<base64>."),
            )
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"oneOf": [_ref("Event"), _ref("TestEvent")]},
                    "example": {
                        "type": events.TEST,
                        "timestamp": "2026-11-24T12:00:00.000Z",
                        "data": {},
                    },
                }
            },
        },
        "responses": {
            "2XX": {"description": "Taken. Anything else, a redirect too, is not.", "content": {}},
            "410": {"description": "Your endpoint is disabled.", "content": {}},
        },
    }


def _query(model: type[BaseModel]) -> list[Schema]:
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            **({"description": schema["description"]} if "description" in schema else {}),
            "schema": _without_null(schema),
        }
        for name, schema in _schema_of(model)["properties"].items()
    ]


def _erase() -> Schema:
    return {
        "operationId": "eraseNumber",
        "summary": "Forget a number",
        "description": (
            "Every callback of yours until now in which it was called or shown is deleted, here and"
            " at the carrier; a live one is canceled first. Needs the scope callbacks:erase. What"
            " is asked for later is not touched."
        ),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _ref("ErasureRequest"),
                    "example": {"number": "+14155550123"},
                }
            },
        },
        "responses": {
            "202": {
                "description": "Accepted: how far it is.",
                "headers": {"Location": _header("Where that is told.", required=True)},
                "content": _json("Erasure"),
                "links": {
                    "readErasure": {
                        "operationId": "readErasure",
                        "parameters": {"erasure_id": "$response.body#/erasure_id"},
                    }
                },
            },
            "400": _refusal(errors.InvalidRequest, errors.BodyNotJson, errors.BodyNotUtf8),
            "413": _refusal(errors.BodyTooLarge, by_gateway=True),
            "503": _refusal(by_gateway=True),
            **_BY_GATEWAY,
        },
    }


def _list_erasures() -> Schema:
    return {
        "operationId": "listErasures",
        "summary": "Every erasure that was asked for, newest first",
        "responses": {
            "200": {"description": "All of them.", "content": _json("Erasures")},
            **_PARAMETERS,
            "503": _refusal(by_gateway=True),
            **_BY_GATEWAY,
        },
    }


def _read_erasure() -> Schema:
    return {
        "operationId": "readErasure",
        "summary": "How far an erasure is",
        "responses": {
            "200": {"description": "How far it is.", "content": _json("Erasure")},
            **_PARAMETERS,
            "404": _refusal(errors.ErasureNotFound),
            "503": _refusal(by_gateway=True),
            **_BY_GATEWAY,
        },
    }


def _id(name: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": "As it was told when it was accepted, and in the list.",
        "schema": {"type": "string", "minLength": 1},
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str) -> Schema:
    return {"application/json": {"schema": _ref(name)}}


def _header(description: str, *, required: bool = False) -> Schema:
    return {"description": description, "required": required, "schema": {"type": "string"}}


# draft-ietf-httpapi-ratelimit-headers-10
_RATES = {
    "RateLimit-Policy": _header('The tenant\'s rates, such as `"tenant-60";q=60;w=60`.'),
    "RateLimit": _header('What is left of them, and for how many seconds: `"tenant-60";r=7;t=41`.'),
}

_LINKS = {
    name: {"operationId": name, "parameters": {"callback_id": "$response.body#/callback_id"}}
    for name in ("readCallback", "cancelCallback")
}


# -------------------------------------------------------------------------------------- refusals
# What an error has beyond `type`, `title`, `status`, `detail` and `code`.
_FORBIDDEN: tuple[type[errors.CallbackError], ...] = (
    errors.EmergencyNumber,
    errors.NumberNotValid,
    errors.RegionNotAllowed,
    errors.NumberTypeNotAllowed,
    errors.SipHostNotAllowed,
    errors.ExtensionTooLong,
    errors.OwnNumber,
    errors.CallerIdNotAllowed,
    errors.Suppressed,
    errors.OutsideCallingWindow,
    errors.SpendCapReached,
)
_TOO_MANY: tuple[type[errors.CallbackError], ...] = (
    errors.TooManyCallsToNumber,
    errors.TooManyCallsToPrefix,
    errors.TooManyCallbacks,
    errors.TooManyAtOnce,
)
_LEG: Schema = {"leg": {"enum": ["A", "B"], "description": "Whom it is about."}}
_ABOUT_A_LEG = (
    *(error for error in _FORBIDDEN if error is not errors.SpendCapReached),
    errors.TooManyCallsToNumber,
    errors.TooManyCallsToPrefix,
)
_MEMBERS: dict[type[errors.CallbackError], Schema] = {
    errors.InvalidRequest: {
        "errors": {
            "type": "array",
            "description": f"The first {errors.MOST_ERRORS} of all that is wrong.",
            "minItems": 1,
            "maxItems": errors.MOST_ERRORS,
            "items": {
                "type": "object",
                "description": "`field` is a path such as leg_A.to; empty: the whole request.",
                "properties": {
                    "field": {"type": "string", "maxLength": errors.LONGEST_FIELD},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
                "required": ["field", "code", "message"],
                "additionalProperties": False,
            },
        }
    },
    errors.ScopeMissing: {"scope": {"enum": [*Scope]}},
    errors.CallbackInProgress: {"callback_id": {"type": "string", "format": "uuid"}},
    errors.CarrierRejected: {
        "callback_id": {"type": "string", "format": "uuid"},
        "leg": {"enum": ["A", "B"]},
        "carrier_code": {
            "type": ["integer", "null"],
            "description": "The carrier's own error code.",
        },
    },
    **dict.fromkeys(_ABOUT_A_LEG, _LEG),
    errors.RegionNotAllowed: {
        **_LEG,
        "region": {"type": "string", "description": "ISO 3166; 001: no country's."},
    },
    errors.NumberTypeNotAllowed: {**_LEG, "number_type": {"enum": [*NumberType]}},
    errors.OutsideCallingWindow: {
        **_LEG,
        "next_allowed_at": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "Null: that cannot be said.",
        },
    },
}
_HEADERS: dict[type[errors.CallbackError], Schema] = {
    errors.CallbackInProgress: {"Location": _header("The live callback's record.")},
    errors.CarrierRejected: {"Location": _header("The refused callback's record.")},
    errors.RequestInProgress: {"Retry-After": _header("Seconds.")},
    errors.CallingStopped: {"Retry-After": _header("Seconds.")},
    errors.TooManyRotations: {"Retry-After": _header("Seconds.")},
    **dict.fromkeys(_FORBIDDEN, _RATES),
    **{error: {"Retry-After": _header("Seconds."), **_RATES} for error in _TOO_MANY},
}
_ERRORS = (
    errors.ScopeMissing,
    errors.InvalidRequest,
    errors.BodyNotJson,
    errors.BodyNotUtf8,
    errors.BodyTooLarge,
    errors.InvalidIdempotencyKey,
    errors.IdempotencyKeyMissing,
    errors.CallbackNotFound,
    errors.ErasureNotFound,
    errors.WebhookEndpointNotFound,
    errors.TooManyRotations,
    errors.DeliveryNotFound,
    errors.CallbackEnded,
    errors.CallbackInProgress,
    errors.RequestInProgress,
    errors.IdempotencyKeyReused,
    errors.CarrierRejected,
    errors.StoreContended,
    errors.CallingStopped,
    *_FORBIDDEN,
    *_TOO_MANY,
)


def _problem_schemas() -> dict[str, Schema]:
    return {error.__name__: _problem(error) for error in _ERRORS}


def _problem(error: type[errors.CallbackError]) -> Schema:
    properties: Schema = {
        "type": {"const": "about:blank"},
        "title": {"const": error.title},
        "status": {"const": error.status},
        "detail": {"type": "string", "description": "A sentence for a person."},
        "code": {"const": error.code},
        **_MEMBERS.get(error, {}),
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _refusal(*kinds: type[errors.CallbackError], by_gateway: bool = False) -> Schema:
    """The response for the errors of one status, and for the gateway's own of that status."""
    content: Schema = {}
    headers: Schema = {}
    if kinds:
        schemas = [_ref(kind.__name__) for kind in kinds]
        content["application/problem+json"] = {
            "schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
        }
    if by_gateway:
        content["application/json"] = {"schema": _ref("GatewayMessage")}
    for kind in kinds:
        headers |= _HEADERS.get(kind, {})
    codes = ", ".join(f"`{kind.code}`" for kind in kinds)
    description = codes or "The gateway has no answer from us."
    return {"description": description, "content": content} | (
        {"headers": headers} if headers else {}
    )


# Of what takes neither a body nor parameters: nothing else in it can be wrong.
_PARAMETERS: Schema = {
    "400": _refusal(errors.InvalidRequest) | {"description": "`invalid_request`: no parameters."}
}

_BY_GATEWAY: Schema = {
    "401": {"description": "No API key was sent.", "content": _json("GatewayMessage")},
    "403": _refusal(errors.ScopeMissing, by_gateway=True)
    | {"description": "The key is not valid, or `scope_missing`."},
    "429": {"description": "Too many requests.", "content": _json("GatewayMessage")},
    "500": {"description": "A fault of ours.", "content": _json("GatewayMessage")},
}


# -------------------------------------------------------------------------------------- requests
class _Untitled(GenerateJsonSchema):
    """A field's name is title enough."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def _schema_of(model: type[BaseModel]) -> Schema:
    return model.model_json_schema(
        ref_template="#/components/schemas/{model}", schema_generator=_Untitled
    )


def _request_schemas() -> dict[str, Schema]:
    _, schemas = models_json_schema(
        [
            (CallbackRequest, "validation"),
            (ListRequest, "validation"),
            (PacketRequest, "validation"),
            (ErasureRequest, "validation"),
            (EndpointRequest, "validation"),
        ],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Untitled,
    )
    definitions: dict[str, Schema] = schemas["$defs"]
    return {name: schema for name, schema in definitions.items() if name != "ListRequest"}


def _without_null(schema: Schema) -> Schema:
    """A query parameter is absent, not null."""
    given = {key: value for key, value in schema.items() if key not in ("anyOf", "description")}
    if "anyOf" in schema:
        (only,) = [option for option in schema["anyOf"] if option != {"type": "null"}]
        given.pop("default", None)
        given |= only
    return given


# ---------------------------------------------------------------------------------------- record
def _object(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _maybe(kind: str, **more: Any) -> Schema:
    return {"type": [kind, "null"], **more}


_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_MAYBE_TIME = _maybe("string", format="date-time")
_SECONDS = {"type": "integer", "minimum": 0}
_MAYBE_SECONDS = _maybe("integer", minimum=0)

_MONEY = {"type": "string", "pattern": r"^[0-9]+\.[0-9]{2,6}$"}

_ENDPOINT: Schema = {
    "url": _TEXT,
    "events": {"type": "array", "items": {"enum": [*Selection]}},
    "created_at": _TIME,
    "disabled_at": _MAYBE_TIME | {"description": "When it answered 410; it is told nothing."},
    "previous_secret_until": _MAYBE_TIME | {"description": "Until when the one before signs too."},
}
_DELIVERY: Schema = {
    "id": {"type": "string", "description": "The event's webhook-id."},
    "type": {"enum": [*EventType, events.TEST]},
    "callback_id": _maybe("string", format="uuid"),
    "sequence": _maybe("integer", minimum=1),
    "status": {"enum": [*DeliveryStatus]},
    "attempts": {"type": "integer", "minimum": 0},
    "reason": _maybe(
        "string", description="Of the last failure: http_<status>, timed_out, tls_failed and so on."
    ),
    "created_at": _TIME,
    "failed_at": _MAYBE_TIME,
}
_EVENT_DATA: Schema = {
    "callback_id": {"type": "string", "format": "uuid"},
    "sequence": {"type": "integer", "minimum": 1},
    "status": {"enum": [*CallbackStatus]},
    "outcome": _maybe("string"),
    "cause": _maybe("string"),
    "created_at": _TIME,
    "connected_at": _MAYBE_TIME,
    "ended_at": _MAYBE_TIME,
}

_RECORD_SCHEMAS: dict[str, Schema] = {
    "Callback": _object(
        {
            "callback_id": {"type": "string", "format": "uuid"},
            "status": {"enum": [*CallbackStatus]},
            "outcome": _maybe(
                "string",
                pattern="^[a-z_]{1,64}$",
                description=(
                    "completed, first_leg_busy, second_leg_no_answer, canceled and so on;"
                    " further ones may come."
                ),
            ),
            "cause": _maybe("string", description="Why, where that is known."),
            "source": {"enum": [*Source], "description": "What asked for it."},
            "order": {"enum": [*Order]},
            "leg_A": _ref("Leg"),
            "leg_B": _ref("Leg"),
            "bridged_seconds": _MAYBE_SECONDS | {"description": "How long both were connected."},
            "max_duration_seconds": _SECONDS,
            "metadata": {"type": "object", "additionalProperties": _TEXT},
            "created_at": _TIME,
            "connected_at": _MAYBE_TIME,
            "ended_at": _MAYBE_TIME,
        }
    ),
    "Leg": _object(
        {
            "to": _TEXT,
            "from": _TEXT,
            "status": {"enum": [*LegStatus]},
            "outcome": {"enum": [*LegOutcome, None]},
            "cause": _maybe(
                "string",
                description=(
                    "sip_<code>, carrier_refused, carrier_did_not_answer, carrier_has_no_such_call"
                    " or not_dialed; further ones may come."
                ),
            ),
            "carrier_code": _maybe("integer", description="The carrier's own error code."),
            "call_sid": _maybe("string", description="The carrier's id of the call."),
            "attempts": {"type": "integer", "minimum": 0},
            "ring_timeout_seconds": _SECONDS,
            "dialed_at": _MAYBE_TIME,
            "ringing_at": _MAYBE_TIME,
            "answered_at": _MAYBE_TIME,
            "joined_at": _MAYBE_TIME,
            "ended_at": _MAYBE_TIME,
            "seconds": _MAYBE_SECONDS | {"description": "Answered seconds as the carrier counts."},
        }
    ),
    "Rehearsal": _object(
        {
            "dry_run": {"const": True},
            "order": {"enum": [*Order]},
            "calls": {
                "type": "array",
                "description": "In the order in which they would be made.",
                "minItems": 2,
                "maxItems": 2,
                "items": _object(
                    {
                        "leg": {"enum": [*LegName]},
                        "step": {"enum": [*Step], "description": "Of one step: both at once."},
                        "to": _TEXT,
                        "from": _TEXT,
                        "region": _maybe("string", description="Of a number; ISO 3166."),
                        "type": {"enum": [*NumberType, "extension", "sip"]},
                        "calling_window": {
                            "description": "Null: may be called at any hour.",
                            "oneOf": [
                                {"type": "null"},
                                _object(
                                    {
                                        "hours": _TEXT,
                                        "zones": {"type": "array", "items": _TEXT},
                                    }
                                ),
                            ],
                        },
                        "ring_timeout_seconds": _SECONDS,
                        "billed_seconds_at_most": _SECONDS,
                        "price_per_minute": _MONEY,
                    }
                ),
            },
            "estimated_maximum_cost": _object({"amount": _MONEY, "currency": _TEXT}),
        }
    ),
    "Accepted": _object({"callback_id": {"type": "string", "format": "uuid"}}),
    "CallbackPage": _object(
        {
            "callbacks": {"type": "array", "maxItems": 100, "items": _ref("Callback")},
            "next_cursor": _maybe(
                "string", description="Null: nothing is left. A page may be short and have one."
            ),
        }
    ),
    "Erasure": _object(
        {
            "erasure_id": {"type": "string", "format": "uuid"},
            "status": {"enum": ["erasing", "done"]},
            "number_hash": _maybe(
                "string",
                description="For whom, as a hash; null: for everybody.",
            ),
            "callbacks_erased": {"type": "integer", "minimum": 0},
            "carrier_records_erased": {"type": "integer", "minimum": 0},
            "requested_at": _TIME,
            "erased_at": _MAYBE_TIME | {"description": "When nothing was left here."},
            "finished_at": _MAYBE_TIME | {"description": "When the carrier had nothing left."},
        }
    ),
    "Erasures": _object({"erasures": {"type": "array", "items": _ref("Erasure")}}),
    "Endpoint": _object(_ENDPOINT),
    "EndpointWithSecret": _object(
        {**_ENDPOINT, "secret": {"type": "string", "description": "whsec_ and base64."}}
    ),
    "Delivery": _object(_DELIVERY),
    "FailedPage": _object(
        {
            "failed": {"type": "array", "maxItems": 100, "items": _ref("Delivery")},
            "next_cursor": _maybe(
                "string", description="Null: nothing is left. A page may be short and have one."
            ),
        }
    ),
    "Event": _object(
        {"type": {"enum": [*EventType]}, "timestamp": _TIME, "data": _ref("EventData")}
    ),
    "TestEvent": _object(
        {
            "type": {"const": events.TEST},
            "timestamp": _TIME,
            "data": {"type": "object", "maxProperties": 0},
        }
    ),
    "EventData": _object(_EVENT_DATA) | {"properties": {**_EVENT_DATA, "leg": _ref("EventLeg")}},
    "EventLeg": _object(
        {
            "name": {"enum": [*LegName]},
            "status": {"enum": [*LegStatus]},
            "outcome": {"enum": [*LegOutcome, None]},
            "cause": _maybe("string"),
            "carrier_code": _maybe("integer"),
            "attempt": {"type": "integer", "minimum": 1},
            "dialed_at": _MAYBE_TIME,
            "ringing_at": _MAYBE_TIME,
            "answered_at": _MAYBE_TIME,
            "joined_at": _MAYBE_TIME,
            "ended_at": _MAYBE_TIME,
            "seconds": _MAYBE_SECONDS,
        }
    ),
    "GatewayMessage": {
        "type": "object",
        "properties": {"message": {"type": ["string", "null"]}},
        "required": ["message"],
    },
}
