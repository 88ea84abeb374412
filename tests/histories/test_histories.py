"""In every history each leg is called at most once, and every callback ends."""

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.histories.machine import Histories
from tests.support import world

EXAMPLES = int(os.environ.get("HISTORIES", "300"))
STEPS = int(os.environ.get("HISTORY_STEPS", "50"))


def test_promises_hold_in_every_history(the_world: world.World) -> None:
    Histories.world = the_world
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize="HISTORIES" not in os.environ,
            suppress_health_check=list(HealthCheck),
            # Shrinking a failed history takes minutes, so it needs SHRINK=1.
            phases=(Phase.generate, Phase.shrink) if "SHRINK" in os.environ else (Phase.generate,),
            database=None,
        ),
    )
