"""Requests about webhooks, as clients send them. Unknown fields are refused."""

from enum import StrEnum
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from callback import validation
from callback.lifecycle.events import EVERY_LEG_EVENT, EventType
from callback.webhooks.http_sender import LONGEST_URL, URL_PATTERN, NotAllowed, Rules

MAX_BODY_BYTES = 4 * 1024


class Selection(StrEnum):
    """An event type to select, or all those of the legs."""

    CALLBACK_ACCEPTED = EventType.CALLBACK_ACCEPTED
    CALLBACK_WAITING = EventType.CALLBACK_WAITING
    CALLBACK_CONNECTED = EventType.CALLBACK_CONNECTED
    CALLBACK_ENDED = EventType.CALLBACK_ENDED
    EVERY_LEG_EVENT = EVERY_LEG_EVENT
    LEG_DIALING = EventType.LEG_DIALING
    LEG_QUEUED = EventType.LEG_QUEUED
    LEG_RINGING = EventType.LEG_RINGING
    LEG_ANSWERED = EventType.LEG_ANSWERED
    LEG_JOINED = EventType.LEG_JOINED
    LEG_ENDED = EventType.LEG_ENDED


_ALL_EVENTS = (
    Selection.CALLBACK_ACCEPTED,
    Selection.CALLBACK_WAITING,
    Selection.EVERY_LEG_EVENT,
    Selection.CALLBACK_CONNECTED,
    Selection.CALLBACK_ENDED,
)


def _sendable(url: str, info: ValidationInfo) -> str:
    """Check the URL by `info.context["rules"]`, an `http_sender.Rules`. The scheme may be in upper
    case (RFC 3986, 3.1) and is stored in lower case."""
    scheme, colon, rest = url.partition(":")
    url = scheme.lower() + colon + rest
    if len(url) > LONGEST_URL:
        raise PydanticCustomError(
            "url_not_allowed", "Give a URL of at most {limit} characters.", {"limit": LONGEST_URL}
        )
    try:
        (info.context or {})["rules"].target_of(url)
    except NotAllowed as refusal:
        raise PydanticCustomError(refusal.code, "{detail}", {"detail": str(refusal)}) from None
    return url


# The schema for clients; `http_sender.Rules` decides.
_URL = WithJsonSchema(
    {
        "type": "string",
        "pattern": URL_PATTERN.replace("https", "[Hh][Tt][Tt][Pp][Ss]"),
        "maxLength": LONGEST_URL,
        "examples": ["https://hooks.example.com/callbacks"],
    }
)


class EndpointRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    url: Annotated[str, AfterValidator(_sendable), _URL] = Field(
        description="https, port 443, no user part. All addresses of the host must be public."
    )
    events: list[Annotated[Selection, Field(strict=False)]] = Field(
        list(_ALL_EVENTS), min_length=1, max_length=len(Selection), description="Events to send."
    )


class WebhookRequest(EndpointRequest):
    """Receives this callback's events instead of your endpoint. Signed with its secret."""


class FailedRequest(BaseModel):
    """Query of GET /voice/webhook/failed."""

    model_config = ConfigDict(extra="forbid")

    limit: validation.Digits = Field(20, ge=1, le=100, description="Most deliveries of a page.")
    cursor: str | None = Field(None, description="`next_cursor` of the previous page.")


def parse_endpoint(body: bytes, rules: Rules) -> EndpointRequest:
    """Raises BodyTooLarge, BodyNotUtf8, BodyNotJson, or InvalidRequest with all invalid fields."""
    text = validation.text_of(body, MAX_BODY_BYTES)
    fields = validation.json_object(text, "Send a JSON object with url.")
    return validation.validate(EndpointRequest, fields, {"rules": rules})


def parse_failed(query: dict[str, str]) -> FailedRequest:
    """Raises InvalidRequest with all invalid parameters."""
    return validation.validate(FailedRequest, query)
