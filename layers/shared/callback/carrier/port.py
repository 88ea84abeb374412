"""What the service asks of a carrier. Use cases know a carrier by this Protocol only.

Each carrier has a package of its own beside this module, such as `carrier.twilio`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from callback.lifecycle.models import Callback, Leg, LegName, LegStatus
from callback.lifecycle.transitions import LegEvent


class Sent(StrEnum):
    """What became of a create request."""

    ACCEPTED = "accepted"
    NOT_SENT = "not_sent"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class DialResult:
    """`carrier_code` is the carrier's own code for what went wrong. `retry_after` is how long the
    carrier wants to be left alone; it comes with NOT_SENT only."""

    sent: Sent
    call_sid: str | None = None
    carrier_code: int | None = None
    retry_after: timedelta | None = None


class Carrier(Protocol):
    """`call_sid` is the carrier's id of a call, as text; it is unique in the account.

    Every method but `ready`, `dial` and `look_alike` raises CarrierUnavailable where the carrier
    cannot be asked, and is safe to repeat.
    """

    def ready(self) -> bool:
        """Whether `dial` can be called now. Makes ready what `dial` needs, such as credentials.

        It is called before a leg is claimed, so that a claim is not spent on preparations.
        """

    def dial(self, callback: Callback, name: LegName) -> DialResult:
        """Ask for the call of a claimed leg. Raises nothing for what the carrier did.

        At most one call is created. A request that may have created one is UNKNOWN and is not sent
        again. NOT_SENT means that the carrier certainly created none.
        """

    def end(self, call_sid: str, sentence: str | None = None) -> LegEvent:
        """End a call that rings or is live. A `sentence` is said to the party first.

        Answers the state of the call now: it may end a moment later.
        """

    def fetch(self, call_sid: str) -> LegEvent:
        """The state of a call now. A call that the carrier does not know has ended with
        DIAL_OUTCOME_UNKNOWN."""

    def live_calls(self) -> dict[str, LegStatus]:
        """The status of every call of the account that has not ended, by its call_sid."""

    def find_calls(self, leg: Leg, since: datetime) -> list[str]:
        """The call_sids of the calls that look like this leg's and were created since then,
        earliest first."""

    def look_alike(self, leg: Leg, other: Leg) -> bool:
        """Whether `find_calls` finds the calls of one of these legs for the other, too."""

    def delete_record(self, call_sid: str) -> bool:
        """Delete what the carrier keeps of a call that has ended. Answers whether it is gone; if
        not, ask again later."""
