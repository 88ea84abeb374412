"""Who is called in which step, and how long each thing may last. Pure, from the request alone."""

from datetime import timedelta

from callback.lifecycle.models import Callback, Leg, LegName, Order, Step

# Legs that each step of the workflow places. In `simultaneous` the second step places none.
STEPS: dict[Order, dict[Step, tuple[LegName, ...]]] = {
    Order.SEQUENTIAL: {Step.FIRST: (LegName.A,), Step.SECOND: (LegName.B,)},
    Order.REVERSE: {Step.FIRST: (LegName.B,), Step.SECOND: (LegName.A,)},
    Order.SIMULTANEOUS: {Step.FIRST: (LegName.A, LegName.B), Step.SECOND: ()},
}

# What the carrier adds to a ring timeout (Twilio docs, call-resource, Timeout).
_RING_BUFFER = timedelta(seconds=5)

# The carrier may hold a call in its queue for a while, but nobody wants it much later.
_QUEUE_SLACK = timedelta(seconds=30)

# A step may outlast its legs' own limits by this much before the workflow gives up on it: where
# the carrier's webhooks are lost, reconcile finds out within a minute what became of a call.
_STEP_SLACK = timedelta(seconds=90)
_TALK_SLACK = timedelta(seconds=60)

# How long the carrier is left alone at most where it says when to ask again: a party may be
# waiting for the other one. The workflow asks for a little longer than this and a quarter more.
_LONGEST_PAUSE = timedelta(seconds=20)


def of_step(callback: Callback, step: Step) -> tuple[LegName, ...]:
    return STEPS[callback.order][step]


def by_order(callback: Callback) -> tuple[Leg, Leg]:
    """First and second leg, by order and not by letter (simultaneous: A is first)."""
    first = of_step(callback, Step.FIRST)[0]
    return callback.leg(first), callback.leg(first.other)


def ring_deadline(leg: Leg) -> timedelta:
    """From dialing to the moment at which a call that still rings, or waits, is stopped."""
    return timedelta(seconds=leg.ring_timeout_seconds) + _QUEUE_SLACK


def ring_bound(leg: Leg) -> timedelta:
    """From dialing to the moment at which the workflow gives up on a leg that nobody answered."""
    return timedelta(seconds=leg.ring_timeout_seconds) + _STEP_SLACK


def pause(told: timedelta, chance: float) -> timedelta:
    """How long to leave the carrier alone that said to ask again after `told`.

    `chance` (0 to 1) adds up to a quarter, so that those that were turned away together do not
    come back together.
    """
    return min(told, _LONGEST_PAUSE) * (1 + chance / 4)


def step_bound(callback: Callback, step: Step) -> timedelta:
    """How long the workflow waits in a step."""
    rings = [ring_bound(callback.leg(name)) for name in of_step(callback, step)]
    bound = max(rings, default=timedelta())
    if step is Step.SECOND:
        bound += timedelta(seconds=callback.max_duration_seconds) + _TALK_SLACK
    return bound


def time_limit(callback: Callback, name: LegName) -> timedelta:
    """How long the carrier lets this leg's call last once answered.

    The leg called last is limited to the conversation itself, and takes the other one with it
    when it ends; a leg that waits for another may also wait as long as that one may ring.
    """
    limit = timedelta(seconds=callback.max_duration_seconds)
    if name in of_step(callback, Step.SECOND):
        return limit
    other = callback.leg(name.other)
    return limit + timedelta(seconds=other.ring_timeout_seconds) + _RING_BUFFER
