"""One tenant starts and ends 300 callbacks a second.

A simulation in virtual time. The limits, their writes, the attempts and the waits are the
product's. Of DynamoDB it knows that a transaction holds its rows for some time, and that one that
meets another on a row is canceled ("TransactionConflict").
"""

import heapq
import random
import re
import time
from collections import Counter as Tally
from collections.abc import Generator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from callback import randomness
from callback.admission import admission
from callback.admission.limits import Limits, Usage
from callback.admission.party import Party
from callback.amounts import MICROS, Money, Rate
from callback.errors import CallbackError, TooManyCallbacks
from callback.lifecycle.models import Callback, LegName
from callback.numbering.destinations import find_destination
from callback.storage import callbacks, counters
from callback.storage.table import CONDITION_FAILED, Write
from callback.tenancy.policy import Policy
from tests.support.build import NOON, callback
from tests.support.counter_rows import Rows

CURRENCY = "USD"
POLICY = Policy(
    calls_per_tenant=(Rate(20_000, 60),),
    concurrent_callbacks=8_000,
    daily_spend=Money(100_000 * MICROS, CURRENCY),
)
_A, _B = (
    Party(name, leg, find_destination(leg.to, "US"), per_minute=10_000, seconds=660, hashes={})
    for name, leg in zip(LegName, callback().legs, strict=True)
)
READ = 0.004  # seconds, of one batch
DURATION = 20.0  # seconds from a callback's acceptance to its release

# A number of seconds to wait, or a transaction.
Steps = Generator[float | list[Write], list[str] | None]


class Load:
    """Callbacks of one tenant, one after another and side by side. `counts`: what became of them,
    by word."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, policy: Policy = POLICY, *, held_for: float
    ) -> None:
        self.policy = policy
        self.rows = Rows(held_for=held_for)
        self.counts: Tally[str] = Tally()
        self._waits: list[float] = []
        self._random = random.Random(20261124)
        monkeypatch.setattr(randomness, "source", self._random)
        monkeypatch.setattr(time, "sleep", self._waits.append)

    def run(self, *, seconds: int, per_second: int) -> None:
        ready: list[tuple[float, int, Steps]] = [
            (self._random.uniform(0, seconds), number, self._callback())
            for number in range(seconds * per_second)
        ]
        heapq.heapify(ready)
        while ready:
            self.rows.now, number, steps = heapq.heappop(ready)
            try:
                step = next(steps)
                while not isinstance(step, float):
                    step = steps.send(self.rows.transact(step))
            except StopIteration:
                continue
            heapq.heappush(ready, (self.rows.now + step, number, steps))

    def _callback(self) -> Steps:
        for _ in range(counters._ATTEMPTS):
            limits = Limits(callback(created_at=NOON), self.policy, (_A, _B), CURRENCY)
            keys = [key for each in limits.counters for key in each.first_read.values()]
            usage = Usage(list(limits.counters), self.rows.read(keys), self.rows.read)
            yield READ
            try:
                usage.refuse_exceeded()
            except CallbackError:
                self.counts["refused"] += 1
                return
            reasons = yield from self._add([each.write for each in usage.conditions()])
            if reasons is None:
                self.counts["created"] += 1
                yield DURATION
                yield from self._release(_with_reservation(limits, usage))
                return
            if CONDITION_FAILED not in reasons:
                break
            self.counts["filled"] += 1
        self.counts["contended"] += 1

    def _add(self, writes: list[Write]) -> Generator[Any, Any, list[str] | None]:
        """As `IntakeStore.add` does."""
        reasons = None
        for attempt in range(callbacks.ATTEMPTS):
            reasons = yield writes
            if reasons is None or CONDITION_FAILED in reasons:
                break
            yield self._wait(attempt)
        return reasons

    def _release(self, over: Callback) -> Steps:
        """As `CallbackStore.release` does."""
        writes = counters.release_writes(over)
        for attempt in range(callbacks.ATTEMPTS):
            if (yield writes) is None:
                self.counts["released"] += 1
                return
            yield self._wait(attempt) + READ
        self.counts["left over"] += 1

    def _wait(self, attempt: int) -> float:
        callbacks.wait_a_little(attempt)
        return self._waits.pop()


def _with_reservation(limits: Limits, usage: Usage) -> Callback:
    planned = limits.planned
    case: Any = SimpleNamespace(
        parties=limits.parties,
        limits=limits,
        usage=usage,
        now=planned.created_at,
        tenant=planned.tenant,
        currency=CURRENCY,
    )
    return replace(planned, reservation=admission._reservation(case))


@pytest.mark.parametrize("held_for", [0.015, 0.025])
def test_a_tenant_starts_and_ends_300_callbacks_a_second(monkeypatch, held_for):
    load = Load(monkeypatch, held_for=held_for)
    load.run(seconds=60, per_second=300)
    assert load.counts["created"] == load.counts["released"] == 60 * 300
    assert set(load.counts) <= {"created", "released", "filled"}
    assert 5_000 < load.rows.most["AT-ONCE"] <= POLICY.concurrent_callbacks
    assert load.rows.total["AT-ONCE"] == 0


def test_beyond_a_divided_limit_the_rest_is_refused(monkeypatch):
    load = Load(monkeypatch, replace(POLICY, concurrent_callbacks=1_000), held_for=0.015)
    load.run(seconds=10, per_second=300)
    assert load.counts["created"] == load.counts["released"] == load.rows.most["AT-ONCE"] == 1_000
    assert load.counts["refused"] == 2_000


def test_of_a_divided_rate_at_least_the_reported_rest_is_left(monkeypatch):
    """The rows that were read say how much. Of a rate that is used up, all rows are read."""
    monkeypatch.setattr(randomness, "source", random.Random(20261124))
    rows, rate = Rows(), Rate(250, 60)
    policy = replace(POLICY, calls_per_tenant=(rate,))
    reported = []
    for stored in range(rate.count + 1):
        limits = Limits(callback(created_at=NOON), policy, (_A, _B), CURRENCY)
        keys = [key for each in limits.counters for key in each.first_read.values()]
        usage = Usage(list(limits.counters), rows.read(keys), rows.read)
        left = rate.count - stored
        if left == 0:
            with pytest.raises(TooManyCallbacks):
                usage.refuse_exceeded()
        else:
            usage.refuse_exceeded()
            assert rows.transact([each.write for each in usage.conditions()]) is None
        (rest,) = re.findall(r"r=(\d+)", usage.rate_headers()["RateLimit"])
        assert int(rest) <= left
        reported.append(int(rest))
    assert reported[0] >= 50
    assert 0 not in reported[:-1]
    assert reported[-1] == 0


def test_undivided_counters_would_refuse_most(monkeypatch):
    monkeypatch.setattr(counters, "_SHARDS", 1)
    load = Load(monkeypatch, held_for=0.015)
    load.run(seconds=10, per_second=300)
    assert load.counts["contended"] > 1_000
