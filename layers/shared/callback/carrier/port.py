"""The requests that a carrier must support. Use cases depend on this Protocol only.

Each carrier has its own package beside this module, such as `carrier.twilio`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from callback.lifecycle.models import Callback, Leg, LegName, LegStatus
from callback.lifecycle.transitions import LegEvent


class Sent(StrEnum):
    """The result of a create request."""

    ACCEPTED = "accepted"
    NOT_SENT = "not_sent"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class DialResult:
    """`carrier_code` is the carrier's own error code. `retry_after` is the pause that the carrier
    requires; it comes with NOT_SENT only."""

    sent: Sent
    call_sid: str | None = None
    carrier_code: int | None = None
    retry_after: timedelta | None = None


class Carrier(Protocol):
    """`call_sid` is the carrier's id of a call, as text. It is unique in the account.

    Every method but `ready`, `dial` and `look_alike` raises CarrierUnavailable if its request
    fails, and is safe to repeat.
    """

    def ready(self) -> bool:
        """Prepare what `dial` needs, such as credentials. Returns whether `dial` can be called now.

        Call it before claiming a leg, so that no time of the claim goes into preparations.
        """

    def dial(self, callback: Callback, name: LegName) -> DialResult:
        """Request the call of a claimed leg. Raises no error for a response of the carrier.

        Creates at most one call. A request that may have created one is UNKNOWN and is not sent
        again. NOT_SENT means that the carrier certainly created none.
        """

    def end(self, call_sid: str, sentence: str | None = None) -> LegEvent:
        """End a call that rings or is live. The party hears the `sentence` first.

        Returns the state of the call now: it may end a moment later.
        """

    def fetch(self, call_sid: str) -> LegEvent:
        """The state of a call now. For a call unknown to the carrier: ended, with
        DIAL_OUTCOME_UNKNOWN."""

    def live_calls(self) -> dict[str, LegStatus]:
        """The status of every call of the account that has not ended, by its call_sid."""

    def find_calls(self, leg: Leg, since: datetime) -> list[str]:
        """The call_sids of calls with this leg's parties that were created since then, earliest
        first."""

    def look_alike(self, leg: Leg, other: Leg) -> bool:
        """Whether `find_calls` cannot distinguish the calls of these two legs."""

    def delete_record(self, call_sid: str) -> bool:
        """Delete the carrier's record of a call that has ended. Returns whether it is deleted. If
        not, try again later."""
