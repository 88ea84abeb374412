from collections.abc import Iterator

import pytest

from tests.api_document import SPEED
from tests.local.stack import LocalStack


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(speed=SPEED, environ={}) as stack:
        yield stack
