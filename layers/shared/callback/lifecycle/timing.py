"""The legs of each step, and time limits. Pure functions of the request alone."""

from datetime import timedelta

from callback.lifecycle.models import Callback, Leg, LegName, Order, Step

# The legs that each step of the workflow dials. In `simultaneous` the second step dials none.
STEPS: dict[Order, dict[Step, tuple[LegName, ...]]] = {
    Order.SEQUENTIAL: {Step.FIRST: (LegName.A,), Step.SECOND: (LegName.B,)},
    Order.REVERSE: {Step.FIRST: (LegName.B,), Step.SECOND: (LegName.A,)},
    Order.SIMULTANEOUS: {Step.FIRST: (LegName.A, LegName.B), Step.SECOND: ()},
}

# The carrier adds this to a ring timeout (Twilio docs, call-resource, Timeout).
_RING_BUFFER = timedelta(seconds=5)

# The longest wait in the carrier's queue. A later call is unwanted.
_QUEUE_SLACK = timedelta(seconds=30)

# A leg may wait this long for its departure.
_DEPARTURE_SLACK = timedelta(seconds=120)

# A step may exceed its legs' own limits by this much before the workflow gives up on it.
# If webhooks are lost, `reconcile` fetches the state of a call within a minute.
_STEP_SLACK = timedelta(seconds=90) + _DEPARTURE_SLACK
_TALK_SLACK = timedelta(seconds=60)

# The longest pause that we accept from the carrier's Retry-After: a party may be waiting for the
# other one.
_LONGEST_PAUSE = timedelta(seconds=20)

# A step gives up on a carrier whose pauses last longer than this since its beginning.
LONGEST_BUSY = timedelta(seconds=26)


def legs_of_step(callback: Callback, step: Step) -> tuple[LegName, ...]:
    return STEPS[callback.order][step]


def legs_by_order(callback: Callback) -> tuple[Leg, Leg]:
    """The first and the second leg in dialing order. In `simultaneous`, A is the first."""
    first = legs_of_step(callback, Step.FIRST)[0]
    return callback.leg(first), callback.leg(first.other)


def ring_deadline(leg: Leg) -> timedelta:
    """From dialing to the moment when we stop a call that still rings or is queued."""
    return timedelta(seconds=leg.ring_timeout_seconds) + _QUEUE_SLACK


def ring_bound(leg: Leg) -> timedelta:
    """From dialing to the moment when the workflow gives up on an unanswered leg."""
    return timedelta(seconds=leg.ring_timeout_seconds) + _STEP_SLACK


def pause(retry_after: timedelta, chance: float) -> timedelta:
    """The pause before the next request to a carrier that asked for `retry_after`.

    `chance` (0 to 1) adds up to a quarter, so that requests refused together are not repeated
    together.
    """
    return min(retry_after, _LONGEST_PAUSE) * (1 + chance / 4)


def step_bound(callback: Callback, step: Step) -> timedelta:
    """The longest time that the workflow waits in a step."""
    rings = [ring_bound(callback.leg(name)) for name in legs_of_step(callback, step)]
    bound = max(rings, default=timedelta())
    if step is Step.SECOND:
        bound += timedelta(seconds=callback.max_duration_seconds) + _TALK_SLACK
    return bound


def time_limit(callback: Callback, name: LegName) -> timedelta:
    """The carrier's limit for an answered call of this leg.

    The leg dialed last may last as long as the conversation. Its end also ends the other call.
    A leg dialed earlier may also wait as long as the other one may ring.
    """
    limit = timedelta(seconds=callback.max_duration_seconds)
    if name in legs_of_step(callback, Step.SECOND):
        return limit
    other = callback.leg(name.other)
    return limit + timedelta(seconds=other.ring_timeout_seconds) + _RING_BUFFER
