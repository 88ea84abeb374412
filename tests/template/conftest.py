from typing import Any

import pytest

from tests.template import document


@pytest.fixture(scope="session")
def deployed() -> dict[str, Any]:
    return document.translated()
