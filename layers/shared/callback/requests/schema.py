"""The request bodies and query strings that clients may send. Unknown fields are refused."""

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
from callback.requests.idempotency import START_WITHIN
from callback.webhooks.http_sender import PUBLIC, Rules
from callback.webhooks.schema import WebhookRequest

MAX_BODY_BYTES = 16 * 1024
MAX_METADATA_BYTES = 1024

_Model = TypeVar("_Model", bound=BaseModel)


def _address(text: str) -> str:
    try:
        return addresses.parse(text)
    except addresses.InvalidAddress as error:
        raise PydanticCustomError(error.code, "{detail}", {"detail": error.detail}) from None


def _no_emergency(text: str, info: ValidationInfo, why: str) -> None:
    if emergency.is_emergency(text, (info.context or {})["home_region"]):
        raise PydanticCustomError("emergency_number", "{why}", {"why": why})


def _showable(text: str, info: ValidationInfo) -> str:
    """Validate a caller ID. `info.context` holds the setting `home_region`."""
    _no_emergency(text, info, "An emergency number cannot be a caller ID.")
    return _address(text)


def _dialable(text: str, info: ValidationInfo) -> str:
    """Validate a party's address. `info.context` holds `home_region` and `sip_domain`."""
    settings = info.context or {}
    _no_emergency(text, info, "Emergency numbers are never called back. Dial it directly.")
    _address(text)
    if addresses.is_extension(text) and not settings["sip_domain"]:
        raise PydanticCustomError(
            "extension_without_domain",
            "Extensions cannot be called: this deployment has no SIP domain. Send an E.164 number"
            " or a sip: address.",
        )
    return text


def _small_metadata(metadata: dict[str, str]) -> dict[str, str]:
    compact = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"))
    if len(compact.encode()) > MAX_METADATA_BYTES:
        raise PydanticCustomError(
            "metadata_too_large",
            "The maximum is {limit} bytes of compact JSON.",
            {"limit": MAX_METADATA_BYTES},
        )
    return metadata


_MetadataKey = Annotated[str, Field(min_length=1)]  # DynamoDB allows no empty attribute name


def _whole(value: Any) -> Any:
    """30.0 is an integer in JSON Schema, and some clients write it so. 30.5 and "30" are not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Whole = Annotated[int, BeforeValidator(_whole)]


# For the OpenAPI document only. `addresses` and `emergency` decide.
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
        description="The party to ring: an E.164 number, an extension or a sip: address."
    )
    caller_id: Annotated[str, AfterValidator(_showable), _ADDRESS] | None = Field(
        None,
        alias="from",
        description=(
            "The caller ID to show: a number of yours. Default: the other leg's `to` if it is"
            " yours, else the fallback that your operator has set."
        ),
    )
    ring_timeout_seconds: _Whole = Field(
        30, ge=5, le=600, description="How long to ring before the outcome is `no_answer`."
    )


class CallbackRequest(BaseModel):
    """The two parties of a callback, and how to connect them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    leg_a: LegRequest = Field(
        alias="leg_A", description="The party to call first, unless `order` says otherwise."
    )
    leg_b: LegRequest = Field(alias="leg_B", description="The other party.")
    order: Annotated[Order, Field(strict=False)] = Field(
        Order.SEQUENTIAL,
        description=(
            "`sequential`: A, then B. `reverse`: B, then A. `simultaneous`: both at once."
        ),
    )
    max_duration_seconds: _Whole = Field(
        3600,
        ge=60,
        le=14400,
        description="The maximum conversation time, counted from the second party's answer.",
    )
    start_within_seconds: _Whole = Field(
        START_WITHIN,
        ge=0,
        le=86_400,
        description=(
            "How long the callback may wait to be started while other calls come first. 0: refuse"
            " it instead."
        ),
    )
    allow_parallel: bool = Field(
        False, description="Permit another live callback between the same two parties."
    )
    webhook: WebhookRequest | None = Field(
        None, description="Receives this callback's events instead of your endpoint."
    )
    metadata: Annotated[dict[_MetadataKey, str], AfterValidator(_small_metadata)] = Field(
        default_factory=dict,
        description=f"Your own strings, at most {MAX_METADATA_BYTES} bytes of compact JSON.",
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
    """A trigger inside our own account. It has no API key, so it names its tenant."""

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
    """A data packet: two parties in few bytes, for small devices."""

    model_config = ConfigDict(extra="forbid", strict=True)

    a: _PARTY = Field(description="As `leg_A.to`.")
    b: _PARTY = Field(description="As `leg_B.to`.")
    order: Annotated[Order, Field(strict=False)] = Field(
        Order.SEQUENTIAL, description="As a callback's `order`."
    )
    # The default is not null, because a form has no null.
    id: Annotated[str, AfterValidator(_key), _KEY] = Field(
        "",
        description="An idempotency key: a repetition gets the first response.",
        json_schema_extra=_without_default,
    )


def _true_or_false(text: str) -> bool:
    """pydantic would also accept 1, on, yes and others."""
    if text not in ("true", "false"):
        raise PydanticCustomError("bool_parsing", "Must be true or false.")
    return text == "true"


class ErasureRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    number: Annotated[str, AfterValidator(_address), _ADDRESS] = Field(
        description="The number or address to erase, as it was written in the request."
    )


_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]"
    r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _time(text: str, parse: ValidatorFunctionWrapHandler) -> datetime:
    """The time in UTC. pydantic would also accept a number, as seconds since 1970.

    An unescaped + of an offset has become a space.
    """
    text = re.sub(" (?=[0-9]{2}:[0-9]{2}$)", "+", text)
    try:
        if _RFC_3339.fullmatch(text):
            at: datetime = parse(text)
            return at.astimezone(UTC)
    except (ValidationError, OverflowError):  # no such day; before year 1 or after 9999 in UTC
        pass
    raise PydanticCustomError(
        "invalid_time", "Must be an RFC 3339 time with an offset, such as 2026-11-01T12:00:00Z."
    )


_Time = Annotated[AwareDatetime, WrapValidator(_time)]


def _plus(text: str) -> str:
    """An unescaped + has become a space, and no address begins with a space."""
    return re.sub("^ ", "+", text)


# Every outcome that `lifecycle.outcomes` can determine; a test compares the two.
OUTCOMES = (
    LegOutcome.COMPLETED,
    CloseReason.CANCELED,
    CloseReason.TIMED_OUT,
    CloseReason.FAILED,
    CloseReason.EXPIRED,
    CloseReason.NOT_PLACED,
    *(f"{place}_leg_{how}" for place in ("first", "second") for how in outcomes.FAILURES),
    "first_leg_abandoned",
    "second_leg_abandoned",
    f"first_leg_{LegOutcome.CANCELED}",
)


def _outcome(text: str) -> str:
    if text not in OUTCOMES:
        raise PydanticCustomError(
            "enum", "{expected}", {"expected": ", ".join(f"'{outcome}'" for outcome in OUTCOMES)}
        )
    return text


class CreateQuery(BaseModel):
    """Query of POST /voice/call/callback."""

    model_config = ConfigDict(extra="forbid")

    dry_run: Annotated[bool, BeforeValidator(_true_or_false)] = Field(
        False, description="Only describe what would happen, and its maximum cost."
    )


class ListRequest(BaseModel):
    """Query of GET /voice/call/callback."""

    model_config = ConfigDict(extra="forbid")

    status: CallbackStatus | None = Field(None, description="Only callbacks with this status.")
    outcome: (
        Annotated[str, AfterValidator(_outcome), WithJsonSchema({"enum": [*map(str, OUTCOMES)]})]
        | None
    ) = Field(None, description="Only callbacks with this outcome.")
    number: Annotated[str, BeforeValidator(_plus), AfterValidator(_address), _ADDRESS] | None = (
        Field(None, description="Only callbacks with this `to` in either leg.")
    )
    created_after: _Time | None = Field(
        None, description="Only callbacks created at this time or later."
    )
    created_before: _Time | None = Field(
        None, description="Only callbacks created before this time."
    )
    limit: validation.Digits = Field(
        20, ge=1, le=100, description="The maximum number of callbacks on the page."
    )
    cursor: str | None = Field(None, description="`next_cursor` of the previous page.")


def parse_callback(
    body: bytes, *, home_region: str, sip_domain: str, rules: Rules = PUBLIC
) -> CallbackRequest:
    """`rules` decide which webhook URLs are allowed.

    Raises BodyTooLarge, BodyNotUtf8, BodyNotJson, or InvalidRequest naming every wrong field."""
    settings = {"home_region": home_region, "sip_domain": sip_domain, "rules": rules}
    return _parsed(CallbackRequest, body, _CALLBACK_HINT, settings)


def parse_erasure(body: bytes) -> ErasureRequest:
    """Raises BodyTooLarge, BodyNotUtf8, BodyNotJson, or InvalidRequest naming every wrong field."""
    return _parsed(ErasureRequest, body, "Send a JSON object with number.", {})


def parse_trigger(body: bytes, *, home_region: str, sip_domain: str) -> TriggerRequest:
    """Raises what `parse_callback` does."""
    settings = {"home_region": home_region, "sip_domain": sip_domain, "rules": PUBLIC}
    return _parsed(TriggerRequest, body, _CALLBACK_HINT, settings)


def parse_packet(
    body: bytes, *, home_region: str, sip_domain: str
) -> tuple[CallbackRequest, str | None]:
    """(the request, the packet's id) from a form `a=...&b=...` or a JSON object.

    Raises what `parse_callback` does.
    """
    settings = {"home_region": home_region, "sip_domain": sip_domain, "rules": PUBLIC}
    text = validation.text_of(body, MAX_BODY_BYTES)
    is_json = text.lstrip().startswith(("{", "["))
    sent = validation.json_object(text, _PACKET_HINT) if is_json else _form(text)
    packet = validation.validate(PacketRequest, sent, settings)
    request = {"leg_A": {"to": packet.a}, "leg_B": {"to": packet.b}, "order": packet.order}
    return validation.validate(CallbackRequest, request, settings), packet.id or None


def _form(text: str) -> dict[str, str]:
    pairs = parse_qsl(text, keep_blank_values=True)
    validation.refuse_repeated(validation.repeated_names(name for name, _ in pairs))
    return {name: _plus(value) for name, value in pairs}


def _parsed(model: type[_Model], body: bytes, hint: str, settings: dict[str, Any]) -> _Model:
    text = validation.text_of(body, MAX_BODY_BYTES)
    return validation.validate(model, validation.json_object(text, hint), settings)


_CALLBACK_HINT = "Send a JSON object with leg_A and leg_B."
_PACKET_HINT = "Send a JSON object or a form with a and b."


def parse_create(query: dict[str, str]) -> CreateQuery:
    """Raises InvalidRequest naming every wrong parameter."""
    return validation.validate(CreateQuery, query)


def parse_list(query: dict[str, str]) -> ListRequest:
    """Raises InvalidRequest naming every wrong parameter."""
    return validation.validate(ListRequest, query)
