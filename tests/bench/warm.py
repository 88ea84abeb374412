"""Instructions and requests of one request to a function that is warm.

`driver` answers the same requests twice, each time in a new process. The first one counts the
requests to AWS and to the carrier, and shows that all arrive here. The second one runs under
valgrind.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import build, instructions
from tests.bench.build import Build
from tests.bench.instructions import NotMeasured
from tests.bench.world import World

DRIVER = Path(__file__).with_name("driver.py")
WARM_UP = 5  # requests
REQUESTS = 10

Event = Mapping[str, Any]


class Warm(NamedTuple):
    """One request: instructions, requests to AWS and requests to the carrier."""

    instructions: float
    aws: float
    carrier: float


class Function(NamedTuple):
    """A compiled function, and what it runs in."""

    python: str
    path: tuple[Path, ...]
    variables: Mapping[str, str]
    carrier_url: str

    def measure(self, first: Sequence[Event], second: Sequence[Event]) -> Warm:
        """Two series of different events, each with WARM_UP events in front. Raises NotMeasured."""
        seen = self.answer(first)
        counted = len(second) - WARM_UP
        with_requests, without = instructions.count(
            self._command(), self.variables, self._job(second, fork=True)
        )
        return Warm(
            (with_requests - without) / counted,
            seen.get("aws", 0) / (len(first) - WARM_UP),
            seen.get("carrier", 0) / (len(first) - WARM_UP),
        )

    def answer(self, events: Sequence[Event]) -> dict[str, Any]:
        """Answer the events without counting instructions. Raises NotMeasured."""
        job = self._job(events, fork=False)
        return json.loads(instructions.run(self._command(), self.variables, job))

    def _command(self) -> list[str]:
        return [self.python, "-I", "-S", str(DRIVER)]

    def _job(self, events: Sequence[Event], *, fork: bool) -> str:
        return json.dumps(
            {
                "path": [str(folder) for folder in self.path],
                "carrier_url": self.carrier_url,
                "warm_up": events[:WARM_UP],
                "counted": events[WARM_UP:],
                "fork": fork,
            }
        )


def our_function(made: Build, world: World, logical_id: str, work: Path) -> Function:
    folder = work / "functions" / logical_id
    if not folder.exists():
        build.copy_function(made.python, world.function(logical_id).folder, folder)
    variables = world.variables(logical_id)
    return Function(made.python, (folder, *made.ours), variables, world.carrier.url)


def textbook_function(made: Build, world: World, name: str, work: Path) -> Function:
    folder = work / "textbook" / name
    if not folder.exists():
        build.copy_function(made.python, build.TEXTBOOK / name, folder)
    variables = world.textbook_variables()
    return Function(made.python, (folder, *made.textbook), variables, world.carrier.url)


def check_dialed(world: World, before: int, requests: int) -> None:
    """Raises NotMeasured unless each request has made one call at the local carrier."""
    calls = len(world.carrier.created) - before
    if calls != requests:
        raise NotMeasured(f"{requests} requests made {calls} calls at the local carrier")
