"""A breaker for each target of webhooks: a tenant's endpoint, or a callback's own URL.

One row for each target that has failed, WEBHOOK#<tenant> / BREAKER#<target>. A target that fails
repeatedly is *down*: its deliveries are parked, and one of them at a time is the *probe*. The
breaker is in the table's index until nothing is parked any more, so `resume_deliveries` looks at
it: at a target that is down to choose the next probe, at one that is back to release what is
parked.

| attribute | content |
|---|---|
| `failures` | weight of the failed attempts since the last success |
| `down_since` | present: the target is down |
| `probe` | the message id of the delivery that may be attempted while the target is down |
| `reason` | why the last probe failed |
| `closed_at` | present: the target is back, and parked deliveries are being released |
| `due_in`, `due_at` | the entry in the index; only with `down_since` or `closed_at` |

Workers race for each change, and its condition decides.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from callback import clock
from callback.lifecycle.models import to_text
from callback.storage.table import Expression, Key, Row, Table
from callback.webhooks import deliveries, endpoints
from callback.webhooks.deliveries import Target
from callback.webhooks.endpoints import Endpoint

# A target is down when the weights of its failures since the last success reach LIMIT. A response
# of the client's own code (4xx) may concern one type of event only, so it weighs little.
LIMIT, HARD, SOFT = 50, 10, 1

# The least wait between probes of different deliveries. Each has its own schedule, too.
PROBE_GAP = timedelta(minutes=30)

# How long a parked delivery rests after it was the probe. So ten of them take turns, and one that
# the client's code always refuses keeps the others waiting for one gap only.
PROBE_REST = 10 * PROBE_GAP

# When a probe without a result is given up: its message may be lost.
PROBE_LEASE = timedelta(minutes=15)

# A breaker that is closed is looked at for this long, even if nothing is parked: somebody who read
# it before may still be parking a delivery. Longer than any function of webhooks runs and caches.
CLOSING = timedelta(minutes=3)

UP = Expression("attribute_not_exists(down_since)")
DOWN = Expression("attribute_exists(down_since)")
_UP_WITH_FAILURES = Expression(f"failures > :none AND {UP.text}", {":none": 0})

_PREFIX = "BREAKER#"
_KEPT = timedelta(days=7)


class Breaker(NamedTuple):
    """`due_at` and `closed_at` are as stored, to be compared in conditions."""

    failures: int = 0
    is_down: bool = False
    probe: str | None = None
    reason: str | None = None
    closed_at: str | None = None
    due_at: str | None = None

    def parks(self, message_id: str) -> bool:
        return self.is_down and self.probe != message_id


class Outage(NamedTuple):
    """What a breaker says of a target that is down. `probe` None: one is chosen at `due_at`."""

    reason: str
    probe: str | None
    due_at: datetime


class BreakerStore:
    def __init__(self, table: Table) -> None:
        self._table = table

    def read(self, target: Target) -> tuple[Endpoint | None, Breaker]:
        """The tenant's endpoint, and the target's breaker. Strongly consistent, one request."""
        at, own = endpoints.key(target.tenant), key(target)
        rows = self._table.read([at, own])
        endpoint = endpoints.from_row(target.tenant, rows[at]) if at in rows else None
        return endpoint, _breaker(rows.get(own, {}))

    def find(self, target: Target) -> Breaker | None:
        """Strongly consistent."""
        row = self._table.get(key(target))
        return _breaker(row) if row else None

    def add_failure(self, target: Target, weight: int) -> None:
        """Does nothing if the target is down."""
        self._table.update(
            key(target),
            Expression(
                "ADD failures :weight SET #ttl = if_not_exists(#ttl, :ttl)",
                {":weight": weight, ":ttl": int((clock.now() + _KEPT).timestamp())},
                {"#ttl": "ttl"},
            ),
            UP,
        )

    def forget_failures(self, target: Target) -> None:
        """After a success."""
        self._table.update(
            key(target), Expression("SET failures = :none", {":none": 0}), _UP_WITH_FAILURES
        )

    def open(self, target: Target, outage: Outage) -> bool:
        """The target is down from now on. False: it was already."""
        place = key(target)
        state = _outage_change(outage)
        change = Expression(
            f"{state.text}, down_since = :now, due_in = :shard REMOVE failures, closed_at, #ttl"
            + ("" if outage.probe else ", probe"),
            {**state.values, ":now": to_text(clock.now()), ":shard": _shard(place)},
            {**state.names, "#ttl": "ttl"},
        )
        return self._table.update(place, change, UP)

    def probe_again(self, target: Target, failed: str, outage: Outage) -> bool:
        """The probe `failed`. False: it is no longer the probe."""
        state = _outage_change(outage)
        change = state if outage.probe else state._replace(text=f"{state.text} REMOVE probe")
        return self._table.update(
            key(target),
            change,
            Expression("probe = :failed AND attribute_exists(down_since)", {":failed": failed}),
        )

    def close(self, target: Target) -> bool:
        """The target is back: release what is parked. False: it was not down."""
        return self._table.update(
            key(target),
            Expression(
                "SET closed_at = :now, due_at = :now REMOVE down_since, probe, failures",
                {":now": to_text(clock.now())},
            ),
            DOWN,
        )

    def choose(self, target: Target, seen: Breaker, message_id: str) -> bool:
        """Make a delivery the probe. False: the breaker has changed."""
        return self._table.update(
            key(target),
            Expression(
                "SET probe = :probe, due_at = :due",
                {":probe": message_id, ":due": to_text(clock.now() + PROBE_LEASE)},
            ),
            Expression(f"{DOWN.text} AND due_at = :seen", {":seen": seen.due_at}),
        )

    def look_later(self, target: Target, seen: Breaker, due_at: datetime) -> bool:
        """False: the breaker has changed."""
        return self._table.update(
            key(target),
            Expression("SET due_at = :due", {":due": to_text(due_at)}),
            Expression("due_at = :seen", {":seen": seen.due_at}),
        )

    def remove_closed(self, target: Target, seen: Breaker) -> bool:
        """False: the target is down again, or was meanwhile."""
        return self._table.delete(
            key(target), Expression("closed_at = :seen", {":seen": seen.closed_at})
        )


def key(target: Target) -> Key:
    return endpoints.partition(target.tenant), _PREFIX + target.name


def target_at(tenant: str, sort_key: str) -> Target:
    """The target of a breaker's row."""
    return Target(tenant, sort_key.removeprefix(_PREFIX))


def _outage_change(outage: Outage) -> Expression:
    values = {":reason": outage.reason, ":due": to_text(outage.due_at)}
    text = "SET #reason = :reason, due_at = :due"
    if outage.probe:
        text, values = f"{text}, probe = :probe", {**values, ":probe": outage.probe}
    return Expression(text, values, {"#reason": "reason"})


def _shard(place: Key) -> str:
    return deliveries.shard_of("/".join(place))


def _breaker(row: Row) -> Breaker:
    return Breaker(
        failures=int(row.get("failures", 0)),
        is_down="down_since" in row,
        probe=row.get("probe"),
        reason=row.get("reason"),
        closed_at=row.get("closed_at"),
        due_at=row.get("due_at"),
    )
