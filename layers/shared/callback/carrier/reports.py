"""What a carrier reports, in our words. Each carrier's package makes these of its webhooks.

A report about the call of one leg is a `transitions.LegEvent`. NamedTuples, and not dataclasses,
because a webhook's cold start pays for each: a frozen dataclass takes four times as long.
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
    """`word` is the carrier's own, if it sent one."""

    word: str | None


RoomEvent = PartyJoined | RoomOpened | UnknownRoomEvent


class InboundCall(NamedTuple):
    """`caller` is as the carrier writes it, which is E.164 for a telephone, and empty where the
    caller's number is known to be withheld. `called` is the number that was dialed.

    `is_spoofed`: the caller's network says that the caller's number is false.
    """

    call_sid: str
    caller: str
    called: str
    is_spoofed: bool


# What the carrier has understood and answered on its own.
OptOut = Literal["stop", "start", "help"]


class InboundText(NamedTuple):
    """`sender` and `recipient` are as the carrier writes them: E.164 for telephones."""

    message_sid: str
    sender: str
    recipient: str
    body: str
    opt_out: OptOut | None
