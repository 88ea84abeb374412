"""The callback and its two legs, as they are stored.

These are plain frozen dataclasses: a validation library would slow the webhook path's cold start.
A change makes a new object (`dataclasses.replace`). `transitions` decides which changes are
allowed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from enum import EnumType, StrEnum
from functools import cache, partial
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:  # nothing needs the type at run time
    from typing import TypedDict

    class LegTimes(TypedDict):
        """The times of a leg's changes, as text. None for a change that has not happened."""

        dialed_at: str | None
        ringing_at: str | None
        answered_at: str | None
        joined_at: str | None
        ended_at: str | None


class LegName(StrEnum):
    A = "A"
    B = "B"

    @property
    def other(self) -> "LegName":
        return LegName.B if self is LegName.A else LegName.A


class Order(StrEnum):
    SEQUENTIAL = "sequential"
    REVERSE = "reverse"
    SIMULTANEOUS = "simultaneous"


class Source(StrEnum):
    """The origin of a callback: the API or a trigger."""

    API = "api"
    SMS = "sms"
    MISSED_CALL = "missed_call"
    PACKET = "packet"
    EVENT = "event"


class Step(StrEnum):
    """A step of a callback. It dials one leg, or both."""

    # The workflow leaves a step when its task token is settled.
    FIRST = "first"
    SECOND = "second"


class LegStatus(StrEnum):
    PLANNED = "planned"
    DIALING = "dialing"
    UNKNOWN = "unknown"
    QUEUED = "queued"
    RINGING = "ringing"
    ANSWERED = "answered"
    JOINED = "joined"
    ENDED = "ended"


class LegOutcome(StrEnum):
    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    FAILED = "failed"
    REJECTED = "rejected"
    DIAL_OUTCOME_UNKNOWN = "dial_outcome_unknown"
    CANCELED = "canceled"


class CallbackStatus(StrEnum):
    WAITING = "waiting"
    ACCEPTED = "accepted"
    CALLING_FIRST = "calling_first"
    CALLING_SECOND = "calling_second"
    CALLING_BOTH = "calling_both"
    CONNECTED = "connected"
    ENDED = "ended"


class CloseReason(StrEnum):
    """Why we ended a callback ourselves."""

    CANCELED = "canceled"
    TIMED_OUT = "timed_out"
    FAILED = "failed"
    STOPPED = "stopped"  # calling is switched off, for everybody or for the tenant
    EXPIRED = "expired"  # it waited to be started for as long as its client allows
    NOT_PLACED = "not_placed"  # it waited, and was refused when it could have been started


class WaitingFor(StrEnum):
    """What a waiting callback waits for: its departure, or limits that are full."""

    DEPARTURE = "departure"
    LIMITS = "limits"


@dataclass(frozen=True, slots=True)
class Leg:
    """One party's call.

    `to` and `caller_id` are addresses in the form that `addresses.parse` returns. `call_sid` is
    the carrier's id of the one call that may join. Times come from the carrier if it reports
    them, otherwise from our clock. `admitted_at` is the time when we sent the call into the room.
    `seconds` is the carrier's count of answered seconds. A planned leg is not dialed before
    `not_before`.
    """

    to: str
    caller_id: str
    ring_timeout_seconds: int
    status: LegStatus = LegStatus.PLANNED
    attempt: int = 0
    call_sid: str | None = None
    outcome: LegOutcome | None = None
    cause: str | None = None
    carrier_code: int | None = None
    unrecognised_status: str | None = None
    not_before: datetime | None = None
    dialed_at: datetime | None = None
    ringing_at: datetime | None = None
    answered_at: datetime | None = None
    admitted_at: datetime | None = None
    joined_at: datetime | None = None
    ended_at: datetime | None = None
    seconds: int | None = None

    @property
    def ended(self) -> bool:
        return self.status is LegStatus.ENDED

    @property
    def in_room_from(self) -> datetime | None:
        """The time of joining the room; if that report was lost, the time of admission."""
        return self.joined_at or self.admitted_at


@dataclass(frozen=True, slots=True)
class Waiting:
    """The workflow's open task. Settle `token` once `step` is decided. The token is a secret.

    `entered_at` is Step Functions' time of entering the step. `retry` counts its attempts since
    then. Together they order the tasks.
    """

    step: Step
    token: str
    entered_at: datetime
    retry: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """A callback's share of its tenant's limits, until the callback ends.

    The share is one concurrent callback, and money of the day of acceptance (UTC, ISO 8601).
    Money is in millionths of the currency's unit. `per_minute_a` and `per_minute_b` are prices of
    one minute of each leg.

    `at_once_shard` and `spend_shares` say which shards of the tenant's counters hold the share:
    the one of the callback, and the money by shard (a text, as DynamoDB's maps have it). None:
    shard 0.
    """

    day: str
    currency: str
    micros: int
    per_minute_a: int
    per_minute_b: int
    released: bool = False
    at_once_shard: int | None = None
    spend_shares: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """An endpoint for one callback, in place of its tenant's, and the events it selects."""

    url: str
    events: list[str]


@dataclass(frozen=True, slots=True)
class Callback:
    """A request to connect two parties, and its state.

    `room` is unguessable and identifies nobody. `revision` counts the writes, `event_count` the
    events for clients (see `events`). The record is deleted after `expires_at`, which is
    `retention_days` after its end. A row of an older version has its final `expires_at`.

    A callback with the status `waiting` is not started yet: it has no execution, and no leg is
    claimed. It waits for `waiting_for` until `start_by`; `expected_at` is an estimate.
    `waiting_place` is the shard of its tenant's counter that counts it as waiting. `started_at` is
    when it stopped waiting. `refusal` is the code of the refusal that kept it from being placed.
    """

    callback_id: str
    tenant: str
    order: Order
    room: str
    created_at: datetime
    expires_at: datetime
    max_duration_seconds: int
    leg_a: Leg
    leg_b: Leg
    source: Source = Source.API
    metadata: dict[str, str] = field(default_factory=dict)
    status: CallbackStatus = CallbackStatus.ACCEPTED
    outcome: str | None = None
    cause: str | None = None
    close_reason: CloseReason | None = None
    connected_at: datetime | None = None
    ended_at: datetime | None = None
    waiting: Waiting | None = None
    reservation: Reservation | None = None
    webhook: Webhook | None = None
    retention_days: int | None = None
    start_by: datetime | None = None
    expected_at: datetime | None = None
    waiting_for: WaitingFor | None = None
    waiting_place: int | None = None
    started_at: datetime | None = None
    refusal: str | None = None
    event_count: int = 1  # callback.accepted
    revision: int = 0

    def leg(self, name: LegName) -> Leg:
        return self.leg_a if name is LegName.A else self.leg_b

    @property
    def legs(self) -> tuple[Leg, Leg]:
        return (self.leg_a, self.leg_b)


def to_text(at: datetime) -> str:
    """RFC 3339 UTC with milliseconds. The order of texts is the order of times."""
    text = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def maybe_text(at: datetime | None) -> str | None:
    return to_text(at) if at else None


def to_record(value: Any) -> dict[str, Any]:
    """A dataclass as a dict of str, int and dict, without fields that are None."""
    return {
        f.name: _plain(part) for f in fields(value) if (part := getattr(value, f.name)) is not None
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_text(value)
    return to_record(value) if is_dataclass(value) else value


def from_record(record: dict[str, Any]) -> Callback:
    """The inverse of `to_record`. Numbers may have any type that `int` accepts.

    A field that an older row lacks gets its default.
    """
    callback: Callback = _read(Callback, record)
    return callback


def _read(kind: Any, record: dict[str, Any]) -> Any:
    return kind(
        **{
            name: convert(value)
            for name, convert in _converters(kind)
            if (value := record.get(name)) is not None
        }
    )


@cache
def _converters(kind: Any) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    return tuple((f.name, _converter(f.type)) for f in fields(kind))


def _converter(hint: Any) -> Callable[[Any], Any]:
    """Converts a stored value to the type. Strings, booleans, lists and dicts need none."""
    (kind,) = set(get_args(hint)) - {NoneType} if isinstance(hint, UnionType) else (hint,)
    if is_dataclass(kind):
        return partial(_read, kind)
    if kind is datetime:
        return datetime.fromisoformat
    if kind is int or isinstance(kind, EnumType):
        return kind
    return _unchanged


def _unchanged(value: Any) -> Any:
    return value


def leg_times(leg: Leg) -> "LegTimes":
    return {
        "dialed_at": maybe_text(leg.dialed_at),
        "ringing_at": maybe_text(leg.ringing_at),
        "answered_at": maybe_text(leg.answered_at),
        "joined_at": maybe_text(leg.joined_at),
        "ended_at": maybe_text(leg.ended_at),
    }
