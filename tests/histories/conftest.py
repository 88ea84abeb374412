"""A world for each file: its histories begin with an empty table of their own accord."""

from collections.abc import Iterator

import pytest

from tests.support import world


@pytest.fixture(scope="module")
def the_world() -> Iterator[world.World]:
    with world.run_world() as running:
        yield running
