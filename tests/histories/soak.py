"""Many long histories: `make soak`, or PYTHONPATH=layers/shared python -m tests.histories.soak.

Exits with 1 if an invariant was broken.

The histories run in batches. The first batch has the seed `--seed`, and each later one the next
number, so a failing batch can be run again alone. There are as many processes as processors, each
with its own world.
"""

import argparse
import contextlib
import logging
import multiprocessing.util
import os
import random
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from tests.histories.machine import Histories
from tests.support import world

BATCH = 100
PROGRESS_SECONDS = 30.0

# A world grows with every history, so a process ends after so many batches.
BATCHES_OF_A_PROCESS = 10


class CountedHistories(Histories):
    histories = 0
    checks = 0

    @invariant()
    def count(self) -> None:
        CountedHistories.checks += 1

    def teardown(self) -> None:
        CountedHistories.histories += 1
        super().teardown()


@dataclass
class Tally:
    """The number of histories and steps run, and of batches that broke an invariant."""

    histories: int = 0
    steps: int = 0  # rules run; each is followed by one check, and so is the beginning
    violations: int = 0

    def add(self, other: "Tally") -> None:
        self.histories += other.histories
        self.steps += other.steps
        self.violations += other.violations

    def __str__(self) -> str:
        return f"{self.histories} histories, {self.steps} steps, {self.violations} violations"


def begin() -> None:
    """Build a world that lasts as long as this process."""
    logging.disable()  # killed functions and refused requests are expected
    worlds = contextlib.ExitStack()
    CountedHistories.world = worlds.enter_context(world.run_world())
    multiprocessing.util.Finalize(None, worlds.close, exitpriority=1)


def run_batch(batch_seed: int, histories: int, steps: int) -> Tally:
    """Run a batch in this process's world. Failures are printed to standard error."""
    CountedHistories.histories = CountedHistories.checks = 0
    chosen = settings(
        max_examples=histories,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
        database=None,
    )
    broken = 0
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Hypothesis prints the failure
            run_state_machine_as_test(seed(batch_seed)(CountedHistories), settings=chosen)
    except (Exception, ExceptionGroup):  # noqa: BLE001 - any error is a violation
        broken = 1
        again = f"--histories {histories} --steps {steps} --seed {batch_seed}"
        print(f"{traceback.format_exc()}\nagain: {again}", file=sys.stderr, flush=True)
    run = CountedHistories.histories
    return Tally(run, CountedHistories.checks - run, broken)


def main() -> int:
    arguments = parse_arguments()
    began = reported_at = time.monotonic()
    total = Tally()
    with ProcessPoolExecutor(
        arguments.processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=begin,
        max_tasks_per_child=BATCHES_OF_A_PROCESS,
    ) as processes:
        batches = [
            processes.submit(
                run_batch,
                arguments.seed + number,
                min(BATCH, arguments.histories - first),
                arguments.steps,
            )
            for number, first in enumerate(range(0, arguments.histories, BATCH))
        ]
        for batch in as_completed(batches):
            total.add(batch.result())
            if time.monotonic() - reported_at > PROGRESS_SECONDS:
                reported_at = time.monotonic()
                print(f"{total}, {reported_at - began:.0f} s", flush=True)
    print(f"{total}, seed {arguments.seed}, {time.monotonic() - began:.0f} s")
    return 1 if total.violations else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run many long histories.")
    parser.add_argument("--histories", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
