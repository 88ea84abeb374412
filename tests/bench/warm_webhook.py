"""Count what one warm webhook executes: PYTHONPATH=layers/shared python -m tests.bench.warm_webhook

The carrier reports that a party's telephone rings. Our function and the textbook function check the
signature and store it. AWS is on 127.0.0.1. Python 3.13 is what Lambda runs: see --python.
"""

import secrets
import sys
from pathlib import Path

from tests.bench import events, warm, warm_post
from tests.bench.build import Build
from tests.bench.warm_post import Compared
from tests.bench.world import World


def measure(made: Build, world: World, work: Path, requests: int = warm.REQUESTS) -> Compared:
    """Raises NotMeasured, NotBuilt or NotRedirected."""
    each = warm.WARM_UP + requests
    # Each event is the first of its call.
    parties, before = events.Parties(), len(world.carrier.created)
    api = warm.our_function(made, world, "CallbackApi", work)
    api.answer([parties.post()])
    warm.check_dialed(world, before, 1)
    api.answer([parties.post() for _ in range(2 * each)])
    warm.check_dialed(world, before, 1 + 2 * each)
    ours = [events.ringing(world, call) for call in world.carrier.created[-2 * each :]]
    theirs = [events.textbook_ringing(world, "CA" + secrets.token_hex(16)) for _ in range(2 * each)]
    webhook = warm.our_function(made, world, "CarrierWebhook", work)
    textbook = warm.textbook_function(made, world, "webhook", work)
    return Compared(
        webhook.measure(ours[:each], ours[each:]), textbook.measure(theirs[:each], theirs[each:])
    )


def main() -> int:
    compared = warm_post.measure_alone("webhook", measure)
    print(*warm_post.lines(compared, "webhook"), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
