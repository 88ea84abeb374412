"""The current time. Nothing else reads a clock, so a test or the local stack can move it."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current time, UTC. Call it as `clock.now()`: a test replaces the attribute."""
    return datetime.now(UTC)
