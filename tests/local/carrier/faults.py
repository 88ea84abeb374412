"""Injects faults, repeatably.

A rule states the fault, where it occurs, how often and with which chance. The chance of its k-th
opportunity depends on the seed, the rule and k alone, so a run can be repeated whatever else
happens at the same time.

REST faults break requests to the simulator, webhook faults break what it sends.
"""

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .checked import checked

REST_FAULTS = (
    "429",  # refused, never processed
    "500-before",  # not processed
    "503-before",
    "500-after",  # processed, and the answer lost
    "503-after",
    "reset-before",  # the connection is cut
    "reset-after",
    "broken-body",  # processed, 201 with half a JSON document
    "slow",  # processed at once, answered after `seconds` (virtual)
)
WEBHOOK_FAULTS = (
    "drop",  # never sent
    "duplicate",  # sent twice, same I-Twilio-Idempotency-Token
    "delay",  # sent `seconds` (virtual) late
    "reorder",  # sent after the next one of the same call or conference
)


@dataclass
class FaultRule:
    """fault: one of REST_FAULTS or WEBHOOK_FAULTS
    where: regular expression on "POST /2010-04-01/…/Calls.json" for REST; on
        "<kind> <url>" for webhooks, where kind is twiml, status, conference, …
    to: regular expression on the request's or webhook's To parameter
    event: regular expression on CallStatus or StatusCallbackEvent (webhooks)
    chance: 0 … 1; times: how often at most; skip: opportunities left alone first
    seconds: for slow and delay
    retry_after: the Retry-After header of a 429, in seconds; None: no header
    """

    fault: str
    where: str = ""
    to: str = ""
    event: str = ""
    chance: float = 1.0
    times: int | None = None
    skip: int = 0
    seconds: float = 5.0
    retry_after: int | None = None
    seen: int = 0
    done: int = 0

    def __post_init__(self) -> None:
        if self.fault not in REST_FAULTS + WEBHOOK_FAULTS:
            raise ValueError(f"no such fault: {self.fault!r}")
        if self.chance > 1:
            raise ValueError(f"chance is 0 to 1, not {self.chance}")
        for pattern in (self.where, self.to, self.event):
            re.compile(pattern)

    @classmethod
    def parse(cls, values: Any) -> "FaultRule":
        """From JSON. Raises ValueError naming an unknown field, fault or bad expression."""
        ready = checked(cls, values, without=("seen", "done"))
        if "fault" not in ready:
            raise ValueError("fault is missing")
        try:
            return cls(**ready)
        except re.error as error:
            raise ValueError(f"bad regular expression: {error}") from error


class Faults:
    """The rules in force. The simulator checks them at each opportunity for a fault."""

    def __init__(self, seed: int = 0):
        self.seed = seed
        self._rules: dict[int, FaultRule] = {}
        self._numbers: Iterator[int] = itertools.count(1)

    def add(self, rule: FaultRule) -> int:
        number = next(self._numbers)
        self._rules[number] = rule
        return number

    def clear(self) -> None:
        """Forget every rule; the next one is number 1 again, so that a run can be repeated."""
        self._rules.clear()
        self._numbers = itertools.count(1)

    def items(self) -> list[tuple[int, FaultRule]]:
        return list(self._rules.items())

    def rest(self, request: str, to: str) -> FaultRule | None:
        return self._ask(REST_FAULTS, request, to, "")

    def webhook(self, kind: str, url: str, to: str, event: str) -> FaultRule | None:
        family = tuple(fault for fault in WEBHOOK_FAULTS if fault != "reorder")
        return self._ask(family, f"{kind} {url}", to, event)

    def reorders(self, kind: str, url: str, to: str, event: str) -> bool:
        return self._ask(("reorder",), f"{kind} {url}", to, event) is not None

    def _ask(self, family: tuple[str, ...], where: str, to: str, event: str) -> FaultRule | None:
        for number, rule in self._rules.items():
            if rule.fault not in family:
                continue
            if not (
                re.search(rule.where, where)
                and re.search(rule.to, to)
                and re.search(rule.event, event)
            ):
                continue
            rule.seen += 1
            if rule.seen <= rule.skip or (rule.times is not None and rule.done >= rule.times):
                continue
            if random.Random(f"{self.seed}:{number}:{rule.seen}").random() < rule.chance:
                rule.done += 1
                return rule
        return None
