"""A party to call, with what the rules know of it."""

from dataclasses import dataclass

from callback.lifecycle.models import Leg, LegName
from callback.numbering.destinations import Destination
from callback.storage import counters


@dataclass(frozen=True)
class Party:
    """A party to call. `leg.caller_id` is empty if the client requested none.

    `per_minute`: the maximum price, in millionths of the price table's currency.
    `seconds`: how long the carrier lets the call last at most.
    `hashes`: of its "number" and "prefix", because a counter's row must not contain them.
    """

    name: LegName
    leg: Leg
    destination: Destination
    per_minute: int
    seconds: int
    hashes: dict[str, str]

    @property
    def numbers(self) -> list[str]:
        """E.164 of each telephone that may ring. Empty for an extension or a name at a PBX."""
        return [telephone.number for telephone in self.destination.telephones]

    @property
    def maximum_cost(self) -> int:
        return counters.cost(self.seconds, self.per_minute)
