from collections.abc import Generator, Iterator

import pytest

from tests.api_document import SPEED
from tests.local.stack import LocalStack


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(speed=SPEED, environ={}) as stack:
        yield stack


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What functions log of each made-up request would hide what was found: a finding says itself
    what was sent and what was answered. Warnings and errors stay."""
    report = yield
    report.sections = [
        (title, "\n".join(line for line in text.splitlines() if not line.startswith("INFO ")))
        for title, text in report.sections
    ]
    return report
