"""The client API as an OpenAPI 3.1 document.

Request schemas come from the models in `schema`, responses from the types in the features'
`record` modules, the events' data from `payloads`, refusals from the classes in `errors`.
"""

from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from callback import errors
from callback.lifecycle import events
from callback.numbering.number_types import NumberType
from callback.privacy.record import ErasuresView
from callback.requests import idempotency
from callback.requests.record import AcceptedView, CallbackPageView, CallbackView, RehearsalView
from callback.requests.schema import (
    CallbackRequest,
    CreateQuery,
    ErasureRequest,
    ListRequest,
    PacketRequest,
)
from callback.scopes import Scope
from callback.webhooks.record import (
    EndpointView,
    EndpointWithSecretView,
    EventView,
    FailedPageView,
    TestEventView,
)
from callback.webhooks.schema import EndpointRequest, FailedRequest, Selection

Schema = dict[str, Any]

_ABOUT = """\
Calls two parties and joins them in one conversation.

Every request carries an API key. A key has scopes: `callbacks:read` permits every GET, \
`callbacks:write` every other request except an erasure, and `callbacks:erase` requesting and \
reading erasures.

Without an `Authorization` header the gateway answers 401 and `{"message": "Unauthorized"}`. If \
the key is unknown, wrong, revoked or malformed, it answers 403 and `{"message": "Forbidden"}`. \
If a valid key lacks the scope, the response is 403 with the code `scope_missing`, and `scope` \
names the scope.

Times are RFC 3339 in UTC. Durations are whole seconds. A value that is not yet known is null. \
Unknown fields and parameters are refused. Every refusal is problem+json (RFC 9457) with a stable \
`code`; the gateway's own responses are a JSON object with a `message` and no `code`."""


def build_document(public_url: str, *, key_required: bool) -> Schema:
    """The document of the deployment at `public_url`. `key_required`: of an Idempotency-Key."""
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
            "schemas": {
                **_request_schemas(),
                **_response_schemas(),
                "GatewayMessage": _GATEWAY_MESSAGE,
                **_problem_schemas(),
            },
        },
    }


# `http.tenant` decides which scope a route needs.
_SECURITY_SCHEMES: Schema = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "<key id>.<secret>",
        "description": "The API key: its id, a dot and its secret (RFC 6750).",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": (
            "The same key: its id as the user and its secret as the password, in base64 (RFC 7617)."
        ),
    },
}


# ------------------------------------------------------------------------------------ operations
def _create(key_required: bool) -> Schema:
    return {
        "operationId": "createCallback",
        "summary": "Create a callback",
        "description": (
            "Calls two parties and joins them. Your tenant's admission rules are applied before"
            " anything is stored or dialed. A refusal names the `leg` that it concerns. Emergency"
            " numbers are refused, also as an extension or the user of a sip: address. With an"
            " Idempotency-Key every repetition gets the first response for 24 hours, byte for byte."
        ),
        "parameters": [
            *_query(CreateQuery),
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": key_required,
                "description": (
                    "A UUID, for example, bare or in double quotes. Your policy may require it."
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
                "description": "With `dry_run`: what would happen. Nothing was stored or dialed.",
                "headers": _RATES,
                "content": _json("Rehearsal"),
            },
            "202": {
                "description": "Accepted. The current record.",
                "headers": {
                    "Location": _header("The record's path.", required=True),
                    "Idempotent-Replayed": _header("`true`: this is a repeated response."),
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
            **_creation_refusals(),
        },
    }


def _creation_refusals() -> Schema:
    """The refusals of every operation that creates a callback."""
    return {
        "409": _refusal(errors.CallbackInProgress, errors.RequestInProgress),
        "413": _refusal(errors.BodyTooLarge, by_gateway=True),
        "422": _refusal(errors.IdempotencyKeyReused, errors.CarrierRejected),
        "503": _refusal(errors.StoreContended, errors.CallingStopped, by_gateway=True),
        **_BY_GATEWAY,
        "403": _forbidden(),
        "429": _refusal(*_TOO_MANY, by_gateway=True),
    }


def _forbidden() -> Schema:
    response = _refusal(errors.ScopeMissing, *_FORBIDDEN, by_gateway=True)
    codes = ", ".join(f"`{error.code}`" for error in _FORBIDDEN)
    return response | {"description": f"{_KEY_REFUSED} Or an admission rule refuses: {codes}."}


def _packet() -> Schema:
    schema = {"schema": _ref("PacketRequest"), "example": {"a": "1000123", "b": "1000125"}}
    return {
        "operationId": "sendPacket",
        "summary": "Create a callback with a small packet",
        "description": (
            "For small devices: two parties in, an id out. The body is a form or a JSON object,"
            " whatever Content-Type says. In a form the leading + of a number need not be escaped."
            " With an `id` every repetition gets the first response for 24 hours."
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
                    "Location": _header("The record's path.", required=True),
                    "Idempotent-Replayed": _header("`true`: this is a repeated response."),
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
            **_creation_refusals(),
        },
    }


def _list() -> Schema:
    return {
        "operationId": "listCallbacks",
        "summary": "List callbacks, newest first",
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
        "summary": "Read a callback",
        "responses": {
            "200": {"description": "The current record.", "content": _json("Callback")},
            **_PARAMETERS,
            "404": _refusal(errors.CallbackNotFound),
            "503": _refusal(by_gateway=True),
            **_BY_GATEWAY,
        },
    }


def _cancel() -> Schema:
    return {
        "operationId": "cancelCallback",
        "summary": "Cancel a callback",
        "description": (
            "In any state. A planned leg is never dialed, a ringing leg stops ringing, a live leg"
            " is hung up. Canceling twice is harmless. The record is kept."
        ),
        "responses": {
            "202": {"description": "The current record.", "content": _json("Callback")},
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
                "summary": "Set the webhook endpoint",
                "description": (
                    "The endpoint receives the events of your callbacks. The signing secret is"
                    " shown only when the endpoint is new and when the secret is rotated. A"
                    " disabled endpoint is enabled again."
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
                    "200": {
                        "description": "Changed. Without the secret.",
                        "content": _json("Endpoint"),
                    },
                    "201": {
                        "description": "Created. Contains the secret.",
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
                "summary": "Read the webhook endpoint",
                "responses": {
                    "200": {"description": "Without the secret.", "content": _json("Endpoint")},
                    **_PARAMETERS,
                    "404": missing,
                    **by_gateway,
                },
            },
            "delete": {
                "operationId": "removeWebhookEndpoint",
                "summary": "Delete the webhook endpoint",
                "description": "Pending deliveries fail.",
                "responses": {
                    "204": {"description": "Deleted, with its secret.", "content": {}},
                    **_PARAMETERS,
                    "404": missing,
                    **by_gateway,
                },
            },
        },
        "/voice/webhook/endpoint/rotate": {
            "post": {
                "operationId": "rotateWebhookSecret",
                "summary": "Rotate the webhook secret",
                "description": (
                    "Returns a new secret. For 24 hours the previous secret also signs, and so does"
                    " every secret rotated in that time, at most five. After a lost response you"
                    " may therefore repeat the request."
                ),
                "responses": {
                    "200": {
                        "description": "Contains the new secret.",
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
                "summary": "Send a test event",
                "responses": {
                    "202": {"description": "Queued.", "content": _json("Delivery")},
                    **_PARAMETERS,
                    "404": missing,
                    **by_gateway,
                },
            }
        },
        "/voice/webhook/failed": {
            "get": {
                "operationId": "listFailedDeliveries",
                "summary": "List failed deliveries",
                "description": "Every attempt has failed. Newest first, kept for seven days.",
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
                    "description": "The `id` of a failed delivery.",
                    "schema": {"type": "string", "minLength": 1},
                }
            ],
            "post": {
                "operationId": "replayDelivery",
                "summary": "Replay a failed delivery",
                "description": "The event is sent again, with a full set of attempts.",
                "responses": {
                    "202": {"description": "Queued.", "content": _json("Delivery")},
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
        "summary": "Receive an event",
        "description": (
            "Your endpoint receives each event at least once, signed according to Standard Webhooks"
            " 1.0.0. The order is not guaranteed. `sequence` numbers a callback's events without"
            " gaps. The header webhook-id is the same at every attempt."
        ),
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": True,
                "description": about,
                "schema": {"type": "string"},
            }
            for name, about in (
                ("webhook-id", "The event's id. Use it to recognize repetitions."),
                ("webhook-timestamp", "The time of this attempt, in seconds since 1970."),
                (
                    "webhook-signature",
                    "v1,<base64>. After a rotation several, separated by spaces.",
                ),
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
            "2XX": {
                "description": "Delivered. Any other status, even a redirect, is a failure.",
                "content": {},
            },
            "410": {"description": "Disables your endpoint.", "content": {}},
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
        "summary": "Erase a number",
        "description": (
            "Deletes your callbacks so far in which the number was called or shown, here and at the"
            " carrier. Live callbacks are canceled first. Later callbacks are not affected. Needs"
            " the scope `callbacks:erase`."
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
                "description": "Accepted. The current progress.",
                "headers": {"Location": _header("The erasure's path.", required=True)},
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
        "summary": "List erasures, newest first",
        "responses": {
            "200": {"description": "All erasures.", "content": _json("Erasures")},
            **_PARAMETERS,
            "503": _refusal(by_gateway=True),
            **_BY_GATEWAY,
        },
    }


def _read_erasure() -> Schema:
    return {
        "operationId": "readErasure",
        "summary": "Read an erasure",
        "responses": {
            "200": {"description": "The current progress.", "content": _json("Erasure")},
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
        "description": "As in the response that accepted it, and in the list.",
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
    "RateLimit-Policy": _header('The tenant\'s rate limits, such as `"tenant-60";q=60;w=60`.'),
    "RateLimit": _header(
        'What is left of each, and the seconds until it resets: `"tenant-60";r=7;t=41`.'
    ),
}

_LINKS = {
    name: {"operationId": name, "parameters": {"callback_id": "$response.body#/callback_id"}}
    for name in ("readCallback", "cancelCallback")
}


# -------------------------------------------------------------------------------------- refusals
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
    errors.TooManyWaiting,
    errors.NoDeparture,
)
_LEG: Schema = {"leg": {"enum": ["A", "B"], "description": "The leg that it concerns."}}
_ABOUT_A_LEG = (
    *(error for error in _FORBIDDEN if error is not errors.SpendCapReached),
    errors.TooManyCallsToNumber,
    errors.TooManyCallsToPrefix,
)
# The members of an error beyond `type`, `title`, `status`, `detail` and `code`.
_MEMBERS: dict[type[errors.CallbackError], Schema] = {
    errors.InvalidRequest: {
        "errors": {
            "type": "array",
            "description": f"The wrong fields, at most {errors.MOST_ERRORS}.",
            "minItems": 1,
            "maxItems": errors.MOST_ERRORS,
            "items": {
                "type": "object",
                "description": "`field` is a path such as leg_A.to. Empty: the whole request.",
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
        "region": {"type": "string", "description": "ISO 3166, or 001 for no country."},
    },
    errors.NumberTypeNotAllowed: {**_LEG, "number_type": {"enum": [*NumberType]}},
    errors.OutsideCallingWindow: {
        **_LEG,
        "next_allowed_at": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "When calling is allowed again. Null: unknown.",
        },
    },
}
_HEADERS: dict[type[errors.CallbackError], Schema] = {
    errors.CallbackInProgress: {"Location": _header("The path of the live callback's record.")},
    errors.CarrierRejected: {"Location": _header("The path of the refused callback's record.")},
    errors.RequestInProgress: {"Retry-After": _header("In seconds.")},
    errors.CallingStopped: {"Retry-After": _header("In seconds.")},
    errors.TooManyRotations: {"Retry-After": _header("In seconds.")},
    **dict.fromkeys(_FORBIDDEN, _RATES),
    **{error: {"Retry-After": _header("In seconds."), **_RATES} for error in _TOO_MANY},
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
    """The response of one status: for our errors, and for the gateway's own."""
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
    description = codes or "The gateway got no response from the service."
    return {"description": description, "content": content} | (
        {"headers": headers} if headers else {}
    )


# For operations without a body or parameters. Nothing else in such a request can be wrong.
_PARAMETERS: Schema = {
    "400": _refusal(errors.InvalidRequest)
    | {"description": "`invalid_request`: a parameter was sent."}
}

_KEY_MISSING = 'No `Authorization` header: `{"message": "Unauthorized"}`.'
_KEY_REFUSED = (
    'The API key is unknown, wrong, revoked or malformed: `{"message": "Forbidden"}`. Or it lacks'
    " the scope: `scope_missing`."
)

_BY_GATEWAY: Schema = {
    "401": {"description": _KEY_MISSING, "content": _json("GatewayMessage")},
    "403": _refusal(errors.ScopeMissing, by_gateway=True) | {"description": _KEY_REFUSED},
    "429": {"description": "Too many requests of all clients.", "content": _json("GatewayMessage")},
    "500": {"description": "An internal error.", "content": _json("GatewayMessage")},
}


# -------------------------------------------------------------------------------------- requests
class _Generator(GenerateJsonSchema):
    """Omits the titles of fields, which would repeat their names. Names `LegView` `Leg`."""

    def normalize_name(self, name: str) -> str:
        return super().normalize_name(name).removesuffix("View")

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def _schema_of(model: type[BaseModel]) -> Schema:
    return model.model_json_schema(
        ref_template="#/components/schemas/{model}", schema_generator=_Generator
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
        schema_generator=_Generator,
    )
    definitions: dict[str, Schema] = schemas["$defs"]
    return {name: schema for name, schema in definitions.items() if name != "ListRequest"}


def _without_null(schema: Schema) -> Schema:
    """The schema of an optional query parameter, which may be absent but not null."""
    parameter = {key: value for key, value in schema.items() if key not in ("anyOf", "description")}
    if "anyOf" in schema:
        (only,) = [option for option in schema["anyOf"] if option != {"type": "null"}]
        parameter.pop("default", None)
        parameter |= only
    return parameter


# ------------------------------------------------------------------------------------- responses
# The types of responses and events. The schemas of the types within them are generated, too.
_VIEWS: dict[str, Any] = {
    "Rehearsal": RehearsalView,
    "Callback": CallbackView,
    "Accepted": AcceptedView,
    "CallbackPage": CallbackPageView,
    "Erasures": ErasuresView,
    "Endpoint": EndpointView,
    "EndpointWithSecret": EndpointWithSecretView,
    "FailedPage": FailedPageView,
    "Event": EventView,
    "TestEvent": TestEventView,
}


def _response_schemas() -> dict[str, Schema]:
    _, schemas = TypeAdapter.json_schemas(
        [(name, "serialization", TypeAdapter(view)) for name, view in _VIEWS.items()],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Generator,
    )
    definitions: dict[str, Schema] = schemas["$defs"]
    return definitions


_GATEWAY_MESSAGE: Schema = {
    "type": "object",
    "properties": {"message": {"type": ["string", "null"]}},
    "required": ["message"],
}
