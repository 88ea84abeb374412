"""Settings of the simulated carrier: account settings, and switches for undocumented behaviour.

Every behaviour that no public source settles is a switch here, with the likelier answer as its
default; `DOUBTS` lists the values of each switch.
"""

from dataclasses import asdict, dataclass
from typing import Any

from .checked import checked

DOUBTS: dict[str, tuple[Any, ...]] = {
    # Does the `answered` callback reach the application before the first TwiML fetch?
    "answered_callback": ("together", "before_twiml", "after_twiml"),
    # The first SequenceNumber of a conference's callbacks.
    "conference_sequence_base": (1, 0),
    # REST status of a room with one waiting participant.
    "lone_room_status": ("init", "in-progress"),
    # HTTP status of 22005 (queue full) and of 10004 (concurrency), and what 10004 does.
    "queue_full_http_status": (400, 429),
    "concurrency_http_status": (429, 400, 403),
    "concurrency_effect": ("refuse", "fail"),
    # The missing parameter of a create that the error names first.
    "validation_order": ("to-from-url", "from-to-url", "url-to-from"),
    # The error of inline TwiML over 4000 characters.
    "long_twiml_code": (21205, 12100, 11750),
    # Do calls made by creating a participant wait in the calls-per-second queue too?
    "participants_share_queue": (True, False),
    # SipResponseCode of a busy party (None: absent), and of a carrier failure.
    "busy_sip_code": (486, 600, None),
    "failure_sip_code": (404, 503, None),
    # An empty 200/204 answer to a TwiML fetch: no verbs, or an error with its fallback.
    "empty_twiml": ("hangup", "error"),
    # Redirecting a call that still rings: 21220, or taken for when it answers.
    "redirect_ringing": ("refuse", "accept"),
    # The status of a ringing call after Status=completed.
    "completed_while_ringing": ("canceled", "completed"),
    # Which conferences a list without Status shows (changes with the API on 2026-09-30).
    "conference_list_default": ("in-progress", "all"),
}


@dataclass
class Settings:
    """Account settings and switches. Durations are virtual seconds unless named otherwise."""

    calls_per_second: float = 1.0
    concurrent_calls: int | None = None  # None: unlimited (an approved business profile)
    concurrent_requests: int | None = None  # REST requests at once before 20429
    queue_limit_seconds: float = 86_400.0
    ring_buffer: float = 5.0  # Twilio adds 5 s to the ring timeout
    time_limit: float = 14_400.0
    # From a call's end until then, deleting its record is refused with 20009.
    deletable_after: float = 0.0
    caller_ids: str = "any"  # "any": every valid From is yours; "owned": 21210 unless listed
    trial: bool = False  # only verified numbers may be called (21219)

    # Webhook limits are real seconds: the application answers in real time.
    webhook_ceiling: float = 15.0
    allow_hosts: tuple[str, ...] = ()

    answered_callback: str = "together"
    conference_sequence_base: int = 1
    lone_room_status: str = "init"
    queue_full_http_status: int = 400
    concurrency_http_status: int = 429
    concurrency_effect: str = "refuse"
    validation_order: str = "to-from-url"
    long_twiml_code: int = 21205
    participants_share_queue: bool = True
    busy_sip_code: int | None = 486
    failure_sip_code: int | None = 404
    empty_twiml: str = "hangup"
    redirect_ringing: str = "refuse"
    completed_while_ringing: str = "canceled"
    conference_list_default: str = "in-progress"

    # Memory bounds: how much of the past is kept.
    keep_ended: int = 10_000
    keep_deliveries: int = 2_000
    keep_lines: int = 400
    keep_log: int = 1_000

    def __post_init__(self) -> None:
        self.check()

    def change(self, **values: Any) -> None:
        """Set several switches at once. Raises ValueError naming the first bad one."""
        ready = checked(Settings, values)
        before = {name: getattr(self, name) for name in ready}
        for name, value in ready.items():
            setattr(self, name, value)
        try:
            self.check()
        except ValueError:
            for name, value in before.items():
                setattr(self, name, value)
            raise

    def check(self) -> None:
        """Raises ValueError where a switch has an unknown value."""
        for name, known in DOUBTS.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, not {getattr(self, name)!r}")
        if self.caller_ids not in ("any", "owned"):
            raise ValueError(f"caller_ids must be 'any' or 'owned', not {self.caller_ids!r}")
        if not self.calls_per_second > 0:
            raise ValueError("calls_per_second must be positive")

    @property
    def longest_call(self) -> float:
        """Four hours unless set; ten minutes on a trial account."""
        return min(self.time_limit, 600.0) if self.trial else self.time_limit

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
