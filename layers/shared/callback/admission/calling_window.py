"""Calling windows: may a party be called now, and if not, when next?

Times are compared in the zone's local time, so days of 23 or 25 hours need no special case.
An hour that the clock skips is never inside; an hour that it repeats is inside twice.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from callback.tenancy.policy import CallingWindow

_MINUTE = timedelta(minutes=1)
# A window that opens once a week opens within this time.
_LOOK_AHEAD = timedelta(days=8)


def inside(window: CallingWindow, zones: Sequence[str], at: datetime) -> bool:
    """Whether the window is open in all zones at that time. Without zones: never."""
    return bool(zones) and all(_inside(window, at.astimezone(ZoneInfo(zone))) for zone in zones)


def _inside(window: CallingWindow, local: datetime) -> bool:
    clock = local.time()
    started = window.start <= clock
    return local.weekday() in window.days and started and (window.end is None or clock < window.end)


def next_inside(window: CallingWindow, zones: Sequence[str], after: datetime) -> datetime | None:
    """The first minute after `after` that is inside. None if there is none within eight days."""
    if not zones:
        return None
    moment = after.astimezone(UTC).replace(second=0, microsecond=0) + _MINUTE
    while moment <= after + _LOOK_AHEAD:
        if inside(window, zones, moment):
            return moment
        moment += _MINUTE
    return None
