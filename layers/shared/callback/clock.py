"""The only place that asks what time it is, so that a test or the local stack can move it."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current time, UTC. Callers write `clock.now()`, never import the name itself."""
    return datetime.now(UTC)
