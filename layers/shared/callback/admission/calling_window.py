"""Calling windows: is it a time to call somebody, and if not, when is it next?

Moments are compared in the zone's own local time, so that a day with 23 or 25 hours needs no care:
an hour that a clock skips is never inside, one that it shows twice is inside twice.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from callback.tenancy.policy import CallingWindow

_MINUTE = timedelta(minutes=1)
# A window that opens once a week opens within this.
_LOOK_AHEAD = timedelta(days=8)


def inside(window: CallingWindow, zones: Sequence[str], at: datetime) -> bool:
    """Whether it is in every one of the zones. No zone known: never."""
    return bool(zones) and all(_inside(window, at.astimezone(ZoneInfo(zone))) for zone in zones)


def _inside(window: CallingWindow, local: datetime) -> bool:
    clock = local.time()
    started = window.start <= clock
    return local.weekday() in window.days and started and (window.end is None or clock < window.end)


def next_inside(window: CallingWindow, zones: Sequence[str], after: datetime) -> datetime | None:
    """The next minute that is inside. None: there is none that anybody knows of."""
    if not zones:
        return None
    moment = after.astimezone(UTC).replace(second=0, microsecond=0) + _MINUTE
    while moment <= after + _LOOK_AHEAD:
        if inside(window, zones, moment):
            return moment
        moment += _MINUTE
    return None
