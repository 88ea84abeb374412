"""What the carrier is to do with a call: a list of instructions, carried out in their order.

Each carrier's package renders them in that carrier's language.
"""

from dataclasses import dataclass

from callback.lifecycle.models import LegName


@dataclass(frozen=True)
class Say:
    """Speak a sentence."""

    sentence: str


@dataclass(frozen=True)
class Play:
    """Play the sound at this URL again and again, until the call is told to do something else."""

    url: str


@dataclass(frozen=True)
class Join:
    """Put the call into a room of two at most. When either leaves, the room closes and the other
    call ends.

    `events_url` is where the carrier reports that a party entered and that both are there.
    `wait_url` is where it asks for the instructions for a party who is alone in the room.
    """

    room: str
    leg: LegName
    events_url: str
    wait_url: str


@dataclass(frozen=True)
class HangUp:
    pass


@dataclass(frozen=True)
class Reject:
    """Do not answer an inbound call: its caller hears the busy tone, and nobody pays for it."""


Instruction = Say | Play | Join | HangUp | Reject
