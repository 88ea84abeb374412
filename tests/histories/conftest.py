"""One world for each file. Each history empties the table before it begins."""

from collections.abc import Iterator

import pytest

from tests.support import world


@pytest.fixture(scope="module")
def the_world() -> Iterator[world.World]:
    with world.run_world() as running:
        yield running
