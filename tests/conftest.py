"""What holds for every test: how long all of them may take, and whose the loggers are.

Loggers belong to the service from the start, as in Lambda. A logger is made when its module is
imported, and a test module may import it before any function is loaded: without a service name it
would belong to nobody, and no test would hear it.
"""

import faulthandler
import os
import time

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "voice-callback")

pytest_plugins = ["tests.support.canary", "tests.support.quick_moto", "tests.support.quick_python"]

# The one limit in real time. No test or fixture has one of its own: on a slow or busy machine all
# that takes long is waited for, and only what never ends is ended here, with every thread's stack.
# CI stops a run after 90 minutes and shows no stack; installing and `make check` come before this.
RUN_SECONDS = 80 * 60
# The process that starts the workers waits for what they have to say.
_WORKERS_FIRST_SECONDS = 30

# Hypothesis gives each example 200 ms otherwise, and making it up a second.
settings.register_profile(
    "patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

_ends_at = pytest.StashKey[float]()
_stderr = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    starts_workers = bool(config.getoption("numprocesses", None))
    seconds = RUN_SECONDS + _WORKERS_FIRST_SECONDS * starts_workers
    config.stash[_ends_at] = time.monotonic() + seconds
    config.stash[_stderr] = os.dup(2)  # what tests write there is captured
    _limit(config)


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """pytest's own faulthandler plugin cancels the limit at every test that fails."""
    _limit(node.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    faulthandler.cancel_dump_traceback_later()
    os.close(config.stash[_stderr])


def _limit(config: pytest.Config) -> None:
    left = max(0.001, config.stash[_ends_at] - time.monotonic())
    faulthandler.dump_traceback_later(left, exit=True, file=config.stash[_stderr])
