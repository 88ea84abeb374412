"""A carrier's reports in our terms. Each carrier's package builds them from its webhooks.

A report about the call of one leg is a `transitions.LegEvent`. These are NamedTuples because a
webhook's cold start pays for each class: a frozen dataclass takes four times as long.
"""

from datetime import datetime
from typing import Literal, NamedTuple

from callback.lifecycle.models import LegName
from callback.lifecycle.transitions import LegEvent


class PartyJoined(NamedTuple):
    """The call of this leg is in the room."""

    leg: LegName
    event: LegEvent


class RoomOpened(NamedTuple):
    """Both parties are in the room and hear each other."""

    at: datetime


class UnknownRoomEvent(NamedTuple):
    """`word` is the carrier's name of the event, or None if it sent none."""

    word: str | None


RoomEvent = PartyJoined | RoomOpened | UnknownRoomEvent


class InboundCall(NamedTuple):
    """`caller` is in the carrier's notation, which is E.164 for a telephone. It is empty if the
    caller's number is known to be withheld. `called` is the number that was dialed.

    `is_spoofed`: the caller's network reports that the caller's number is false.
    """

    call_sid: str
    caller: str
    called: str
    is_spoofed: bool


# A keyword that the carrier has recognized and replied to on its own.
OptOut = Literal["stop", "start", "help"]


class InboundText(NamedTuple):
    """`sender` and `recipient` are in the carrier's notation: E.164 for telephones."""

    message_sid: str
    sender: str
    recipient: str
    body: str
    opt_out: OptOut | None
