"""Many long histories: `make soak`, or PYTHONPATH=layers/shared python -m tests.histories.soak.

Exits 1 if a promise was broken.

They are run in batches, each with a seed of its own, counted up from the one given: a batch in
which something broke can be run again without the thousands before it.
"""

import argparse
import contextlib
import logging
import random
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from tests.histories import world
from tests.histories.machine import Histories

BATCH = 100
PROGRESS_SECONDS = 30.0


class CountedHistories(Histories):
    histories = 0
    checks = 0

    @invariant()
    def count(self) -> None:
        CountedHistories.checks += 1

    def teardown(self) -> None:
        CountedHistories.histories += 1
        super().teardown()

    @classmethod
    def steps(cls) -> int:
        """Rules that were run: one check follows each, and one the beginning."""
        return cls.checks - cls.histories


def run_batch(batch_seed: int, histories: int, steps: int) -> str | None:
    """What went wrong in these histories; None: nothing."""
    chosen = settings(
        max_examples=histories,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
        database=None,
    )
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what Hypothesis prints of a failure
            run_state_machine_as_test(seed(batch_seed)(CountedHistories), settings=chosen)
    except (Exception, ExceptionGroup):  # noqa: BLE001 - whatever it was, it broke a promise
        return traceback.format_exc()
    return None


def main() -> int:
    arguments = parsed()
    logging.disable()  # functions that are killed and requests that are refused are the point
    began = told = time.monotonic()
    violations = 0
    with world.running() as CountedHistories.world:
        for number, first in enumerate(range(0, arguments.histories, BATCH)):
            size = min(BATCH, arguments.histories - first)
            broken = run_batch(arguments.seed + number, size, arguments.steps)
            if broken:
                violations += 1
                print(broken, file=sys.stderr)
                again = f"--histories {size} --steps {arguments.steps}"
                print(f"again: {again} --seed {arguments.seed + number}", file=sys.stderr)
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                print(f"{tally(violations)}, {told - began:.0f} s", flush=True)
    print(f"{tally(violations)}, seed {arguments.seed}, {time.monotonic() - began:.0f} s")
    return 1 if violations else 0


def tally(violations: int) -> str:
    histories, steps = CountedHistories.histories, CountedHistories.steps()
    return f"{histories} histories, {steps} steps, {violations} violations"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run many long histories.")
    parser.add_argument("--histories", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
