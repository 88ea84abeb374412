"""What clients may send about webhooks. Unknown fields are refused."""

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
    """An event that one may ask for, or all of the legs'."""

    CALLBACK_ACCEPTED = EventType.CALLBACK_ACCEPTED
    CALLBACK_CONNECTED = EventType.CALLBACK_CONNECTED
    CALLBACK_ENDED = EventType.CALLBACK_ENDED
    EVERY_LEG_EVENT = EVERY_LEG_EVENT
    LEG_DIALING = EventType.LEG_DIALING
    LEG_QUEUED = EventType.LEG_QUEUED
    LEG_RINGING = EventType.LEG_RINGING
    LEG_ANSWERED = EventType.LEG_ANSWERED
    LEG_JOINED = EventType.LEG_JOINED
    LEG_ENDED = EventType.LEG_ENDED


_EVERYTHING = (
    Selection.CALLBACK_ACCEPTED,
    Selection.EVERY_LEG_EVENT,
    Selection.CALLBACK_CONNECTED,
    Selection.CALLBACK_ENDED,
)


def _sendable(url: str, info: ValidationInfo) -> str:
    """`info.context` holds `rules`, an `http_sender.Rules`. A scheme is written in any case
    (RFC 3986, 3.1); it is kept in lower case."""
    scheme, colon, rest = url.partition(":")
    url = scheme.lower() + colon + rest
    if len(url) > LONGEST_URL:
        raise PydanticCustomError(
            "url_not_allowed", "Give a URL of {limit} characters at most.", {"limit": LONGEST_URL}
        )
    try:
        (info.context or {})["rules"].target_of(url)
    except NotAllowed as refused:
        raise PydanticCustomError(refused.code, "{detail}", {"detail": str(refused)}) from None
    return url


# What is told to clients; `outbound` decides.
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
        description="https, port 443, no user, and every address of the host a public one."
    )
    events: list[Annotated[Selection, Field(strict=False)]] = Field(
        list(_EVERYTHING), min_length=1, max_length=len(Selection), description="What is told."
    )


class WebhookRequest(EndpointRequest):
    """Who is told of this callback, in place of your endpoint; signed with its secret."""


class FailedRequest(BaseModel):
    """Query of GET /voice/webhook/failed."""

    model_config = ConfigDict(extra="forbid")

    limit: validation.Digits = Field(20, ge=1, le=100, description="How many of them, at most.")
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")


def parse_endpoint(body: bytes, rules: Rules) -> EndpointRequest:
    """Raises BodyTooLarge, BodyNotUtf8, BodyNotJson, or InvalidRequest naming every wrong field."""
    text = validation.text_of(body, MAX_BODY_BYTES)
    sent = validation.json_object(text, "Send a JSON object with url.")
    return validation.validate(EndpointRequest, sent, {"rules": rules})


def parse_failed(query: dict[str, str]) -> FailedRequest:
    """Raises InvalidRequest naming every wrong parameter."""
    return validation.validate(FailedRequest, query)
