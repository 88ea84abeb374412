"""What never ends is ended, and says where it was; what is slow is waited for."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import pytest_run

IN_THREE_SECONDS = """
from tests import conftest

conftest.RUN_SECONDS = 3
pytest_plugins = ["tests.conftest"]
"""

HANGS = """
import threading

def test_that_fails():
    assert False

def test_that_hangs():
    threading.Event().wait()
"""


@pytest.mark.parametrize("workers", ["0", "1"], ids=["alone", "a worker"])
def test_a_run_that_never_ends_is_ended_with_a_stack_though_a_test_failed_before(tmp_path, workers):
    (tmp_path / "conftest.py").write_text(IN_THREE_SECONDS, encoding="utf-8")
    (tmp_path / "test_hangs.py").write_text(HANGS, encoding="utf-8")
    ran = pytest_run.run(tmp_path, "-n", workers, "--max-worker-restart", "0")
    assert ran.returncode, ran.stdout
    assert "Timeout (0:00:0" in ran.stderr
    assert "most recent call first" in ran.stderr


@given(st.just(0.3))
def test_hypothesis_waits_for_an_example_that_is_slow(seconds):
    """Its own deadline is 0.2 s."""
    time.sleep(seconds)
