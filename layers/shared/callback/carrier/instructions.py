"""Instructions to the carrier for a call. The carrier carries out a list of them in order.

Each carrier's package renders them in that carrier's language.
"""

from typing import NamedTuple

from callback.lifecycle.models import LegName


class Say(NamedTuple):
    """Speak a sentence."""

    sentence: str


class Play(NamedTuple):
    """Play the sound at this URL in a loop, until the call gets other instructions."""

    url: str


class Join(NamedTuple):
    """Put the call into a room of two at most. When either leaves, the room closes and the other
    call ends.

    The carrier reports to `events_url` that a party entered and that both are there. It requests
    from `wait_url` the instructions for a party who is alone in the room.
    """

    room: str
    leg: LegName
    events_url: str
    wait_url: str


class HangUp(NamedTuple):
    pass


class Reject(NamedTuple):
    """Do not answer an inbound call. The caller hears the busy tone. The call costs nothing."""


Instruction = Say | Play | Join | HangUp | Reject
