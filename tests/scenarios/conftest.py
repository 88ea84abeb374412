"""One world for all scenarios: each begins with an empty table and a carrier without faults."""

from collections.abc import Iterator

import pytest

from tests.histories import world
from tests.scenarios.play import Play, tidy


@pytest.fixture(scope="package")
def the_world() -> Iterator[world.World]:
    with world.running() as running:
        yield running


@pytest.fixture
def tidied(the_world: world.World) -> Iterator[world.World]:
    yield the_world
    tidy(the_world)


@pytest.fixture
def play(tidied: world.World, request: pytest.FixtureRequest) -> Play:
    """Indirectly parametrised, `first_minute`."""
    return Play(tidied, first_minute=getattr(request, "param", 60.0))
