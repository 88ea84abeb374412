"""The request bodies and query strings that clients may send. Unknown fields are refused.

Further attributes of a callback (schedules, recording, announcements) get their fields here
and their meaning in the use case that needs them.
"""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from callback import validation
from callback.errors import InvalidIdempotencyKey
from callback.lifecycle import outcomes
from callback.lifecycle.models import CallbackStatus, CloseReason, LegOutcome, Order
from callback.numbering import addresses, emergency
from callback.requests import idempotency
from callback.webhooks.http_sender import PUBLIC, Rules
from callback.webhooks.schema import WebhookRequest

MAX_BODY_BYTES = 16 * 1024
MAX_METADATA_BYTES = 1024

_Model = TypeVar("_Model", bound=BaseModel)


def _address(text: str) -> str:
    try:
        return addresses.parse(text)
    except addresses.InvalidAddress as refused:
        raise PydanticCustomError(refused.code, "{detail}", {"detail": refused.detail}) from None


def _no_emergency(text: str, info: ValidationInfo, why: str) -> None:
    if emergency.is_emergency(text, (info.context or {})["home_region"]):
        raise PydanticCustomError("emergency_number", "{why}", {"why": why})


def _showable(text: str, info: ValidationInfo) -> str:
    """`info.context` holds the setting `home_region`."""
    _no_emergency(text, info, "Emergency numbers are never shown as a caller ID.")
    return _address(text)


def _dialable(text: str, info: ValidationInfo) -> str:
    """`info.context` holds the settings `home_region` and `sip_domain`."""
    settings = info.context or {}
    _no_emergency(text, info, "Emergency numbers are never called back: dial them directly.")
    _address(text)
    if addresses.is_extension(text) and not settings["sip_domain"]:
        raise PydanticCustomError(
            "extension_without_domain",
            "Extensions cannot be called here: no SIP domain is configured. Give an E.164"
            " number or a sip: address.",
        )
    return text


def _small_metadata(metadata: dict[str, str]) -> dict[str, str]:
    compact = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"))
    if len(compact.encode()) > MAX_METADATA_BYTES:
        raise PydanticCustomError(
            "metadata_too_large",
            "Metadata may be {limit} bytes of JSON without blanks at most.",
            {"limit": MAX_METADATA_BYTES},
        )
    return metadata


_MetadataKey = Annotated[str, Field(min_length=1)]  # DynamoDB has no empty attribute names


def _whole(value: Any) -> Any:
    """30.0 is an integer in JSON Schema, as some clients write it; 30.5 and "30" are not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Whole = Annotated[int, BeforeValidator(_whole)]


# What is told to clients; `addresses` and `guards` decide.
_ADDRESS = WithJsonSchema(
    {
        "type": "string",
        "pattern": addresses.PATTERN,
        "examples": ["+14155550123", "1000123", "sip:alice@pbx.example.com"],
    }
)


class LegRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    to: Annotated[str, AfterValidator(_dialable), _ADDRESS] = Field(
        description="Who is rung: an E.164 number, an extension, or a sip: address."
    )
    caller_id: Annotated[str, AfterValidator(_showable), _ADDRESS] | None = Field(
        None,
        alias="from",
        description=(
            "The caller ID shown, a number of yours; without it the other leg's `to`, if that is"
            " yours to show, else the fallback that your operator has set."
        ),
    )
    ring_timeout_seconds: _Whole = Field(
        30, ge=5, le=600, description="How long to let it ring; then they did not answer."
    )


class CallbackRequest(BaseModel):
    """Two parties, and how they are to be brought together."""

    model_config = ConfigDict(extra="forbid", strict=True)

    leg_a: LegRequest = Field(
        alias="leg_A", description="The party who is called first, unless `order` says otherwise."
    )
    leg_b: LegRequest = Field(alias="leg_B", description="The party whom they are to talk with.")
    order: Annotated[Order, Field(strict=False)] = Field(
        Order.SEQUENTIAL,
        description=(
            "`sequential`: A, then B; `reverse`: B, then A; `simultaneous`: both are rung at once."
        ),
    )
    max_duration_seconds: _Whole = Field(
        3600,
        ge=60,
        le=14400,
        description="How long they may talk, counted from the second party's answer.",
    )
    allow_parallel: bool = Field(
        False, description="Let these two parties have another live callback."
    )
    webhook: WebhookRequest | None = Field(
        None, description="Who is told of this callback, in place of your endpoint."
    )
    metadata: Annotated[dict[_MetadataKey, str], AfterValidator(_small_metadata)] = Field(
        default_factory=dict,
        description=f"Your own strings, up to {MAX_METADATA_BYTES} bytes of JSON.",
    )

    @model_validator(mode="after")
    def _two_parties(self, info: ValidationInfo) -> "CallbackRequest":
        sip_domain = (info.context or {})["sip_domain"]
        a, b = (addresses.dial_target(leg.to, sip_domain) for leg in (self.leg_a, self.leg_b))
        if a == b:
            raise PydanticCustomError(
                "same_party", "leg_A.to and leg_B.to reach the same party. Give two different ones."
            )
        return self


class TriggerRequest(CallbackRequest):
    """What a trigger inside our own account asks for: nobody's key says whose it is."""

    tenant: Annotated[str, Field(min_length=1, max_length=63)]


_PARTY = Annotated[str, AfterValidator(_dialable), _ADDRESS]

_KEY = WithJsonSchema({"type": "string", "pattern": f"^({idempotency.KEY_PATTERN})$"})


def _key(text: str) -> str:
    if not re.fullmatch(idempotency.KEY_PATTERN, text):
        raise PydanticCustomError(InvalidIdempotencyKey.code, idempotency.KEY_RULE)
    return text


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


class PacketRequest(BaseModel):
    """A data packet: the two parties in as few bytes as a small device can afford."""

    model_config = ConfigDict(extra="forbid", strict=True)

    a: _PARTY = Field(description="As `leg_A.to`.")
    b: _PARTY = Field(description="As `leg_B.to`.")
    order: Annotated[Order, Field(strict=False)] = Field(
        Order.SEQUENTIAL, description="As a callback's `order`."
    )
    # Not null where there is none: a form has no null.
    id: Annotated[str, AfterValidator(_key), _KEY] = Field(
        "",
        description="As an Idempotency-Key: a repetition gets the first answer.",
        json_schema_extra=_without_default,
    )


def _true_or_false(text: str) -> bool:
    """pydantic would also take 1, on, yes and the like."""
    if text not in ("true", "false"):
        raise PydanticCustomError("bool_parsing", "Give true or false.")
    return text == "true"


class ErasureRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    number: Annotated[str, AfterValidator(_address), _ADDRESS] = Field(
        description="Whom to forget, as it was written when it was called or shown."
    )


_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]"
    r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _time(text: str, parse: ValidatorFunctionWrapHandler) -> datetime:
    """In UTC. pydantic would also take a number, as seconds since 1970.

    The + of an offset that was not escaped is a space by the time it gets here.
    """
    text = re.sub(" (?=[0-9]{2}:[0-9]{2}$)", "+", text)
    try:
        if _RFC_3339.fullmatch(text):
            at: datetime = parse(text)
            return at.astimezone(UTC)
    except (ValidationError, OverflowError):  # no such day; before year 1 or after 9999 in UTC
        pass
    raise PydanticCustomError(
        "invalid_time", "Give an RFC 3339 time with its offset, such as 2026-11-01T12:00:00Z."
    )


_Time = Annotated[AwareDatetime, WrapValidator(_time)]


def _plus(text: str) -> str:
    """A + that was not escaped is a space by the time it gets here, and no address begins with
    a space."""
    return re.sub("^ ", "+", text)


# All that `outcomes.decide_outcome` answers; a test holds the two together.
OUTCOMES = (
    LegOutcome.COMPLETED,
    CloseReason.CANCELED,
    CloseReason.TIMED_OUT,
    CloseReason.FAILED,
    *(f"{place}_leg_{how}" for place in ("first", "second") for how in outcomes.FAILURES),
    "first_leg_abandoned",
    "second_leg_abandoned",
    f"first_leg_{LegOutcome.CANCELED}",
)


def _outcome(text: str) -> str:
    if text not in OUTCOMES:
        raise PydanticCustomError(
            "enum", "Input should be {expected}", {"expected": ", ".join(OUTCOMES)}
        )
    return text


class CreateQuery(BaseModel):
    """Query of POST /voice/call/callback."""

    model_config = ConfigDict(extra="forbid")

    dry_run: Annotated[bool, BeforeValidator(_true_or_false)] = Field(
        False, description="Say what would happen, and what it may cost; do nothing."
    )


class ListRequest(BaseModel):
    """Query of GET /voice/call/callback. Newest first; `cursor` is what the last page gave."""

    model_config = ConfigDict(extra="forbid")

    status: CallbackStatus | None = Field(None, description="Only those that stand like this.")
    outcome: (
        Annotated[str, AfterValidator(_outcome), WithJsonSchema({"enum": [*map(str, OUTCOMES)]})]
        | None
    ) = Field(None, description="Only those that came out like this.")
    number: Annotated[str, BeforeValidator(_plus), AfterValidator(_address), _ADDRESS] | None = (
        Field(None, description="Either party's `to`.")
    )
    created_after: _Time | None = Field(None, description="Only those from this time on.")
    created_before: _Time | None = Field(None, description="Only those from before this time.")
    limit: validation.Digits = Field(20, ge=1, le=100, description="How many of them, at most.")
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")


def parse_callback(
    body: bytes, *, home_region: str, sip_domain: str, rules: Rules = PUBLIC
) -> CallbackRequest:
    """`rules` say where the webhook may lead.

    Raises BodyTooLarge, BodyNotUtf8, BodyNotJson, or InvalidRequest naming every wrong field."""
    settings = {"home_region": home_region, "sip_domain": sip_domain, "rules": rules}
    return _parsed(CallbackRequest, body, _A_CALLBACK, settings)


def parse_erasure(body: bytes) -> ErasureRequest:
    """Raises BodyTooLarge, BodyNotUtf8, BodyNotJson, or InvalidRequest naming every wrong field."""
    return _parsed(ErasureRequest, body, "Send a JSON object with number.", {})


def parse_trigger(body: bytes, *, home_region: str, sip_domain: str) -> TriggerRequest:
    """Raises what `parse_callback` does."""
    settings = {"home_region": home_region, "sip_domain": sip_domain, "rules": PUBLIC}
    return _parsed(TriggerRequest, body, _A_CALLBACK, settings)


def parse_packet(
    body: bytes, *, home_region: str, sip_domain: str
) -> tuple[CallbackRequest, str | None]:
    """(the request, the packet's id) of a form `a=...&b=...`, or of a JSON object.

    Raises what `parse_callback` does.
    """
    settings = {"home_region": home_region, "sip_domain": sip_domain, "rules": PUBLIC}
    text = validation.text_of(body, MAX_BODY_BYTES)
    is_json = text.lstrip().startswith(("{", "["))
    sent = validation.json_object(text, _A_PACKET) if is_json else _form(text)
    packet = validation.checked(PacketRequest, sent, settings)
    asked = {"leg_A": {"to": packet.a}, "leg_B": {"to": packet.b}, "order": packet.order}
    return validation.checked(CallbackRequest, asked, settings), packet.id or None


def _form(text: str) -> dict[str, str]:
    pairs = parse_qsl(text, keep_blank_values=True)
    validation.refuse_repeated(validation.repeated(name for name, _ in pairs))
    return {name: _plus(value) for name, value in pairs}


def _parsed(model: type[_Model], body: bytes, hint: str, settings: dict[str, Any]) -> _Model:
    text = validation.text_of(body, MAX_BODY_BYTES)
    return validation.checked(model, validation.json_object(text, hint), settings)


_A_CALLBACK = "Send a JSON object with leg_A and leg_B."
_A_PACKET = "Send a JSON object with a and b, or a form with them."


def parse_create(query: dict[str, str]) -> CreateQuery:
    """Raises InvalidRequest naming every wrong parameter."""
    return validation.checked(CreateQuery, query)


def parse_list(query: dict[str, str]) -> ListRequest:
    """Raises InvalidRequest naming every wrong parameter."""
    return validation.checked(ListRequest, query)
