"""A pytest plugin that prints a progress line at intervals instead of a dot for each test.

It names a failed test at once. With -v pytest names every test itself.
"""

import threading
import time
from collections.abc import Generator

import pytest

EVERY_SECONDS = 15.0


@pytest.hookimpl(trylast=True)  # after the terminal's reporter has come
def pytest_configure(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal and not is_worker and config.get_verbosity() <= 0:
        has_workers = bool(config.getoption("numprocesses", None))
        config.pluginmanager.register(Progress(terminal, has_workers=has_workers))


class Progress:
    """`has_workers`: the tests run in other processes, so a thread can run here and its output is
    not captured."""

    def __init__(self, terminal: pytest.TerminalReporter, *, has_workers: bool) -> None:
        self._terminal = terminal
        terminal.showfspath = False
        self._has_workers = has_workers
        self._began = self._said_at = time.monotonic()
        self._loop_is_over = threading.Event()
        self._loop_is_over.set()
        self._running: list[str] = []
        self._failed: set[str] = set()
        self._finished = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        self._session = session
        self._loop_is_over.clear()
        ticking = threading.Thread(target=self._tick, daemon=True)
        if self._has_workers:
            ticking.start()
        try:
            return (yield)
        finally:
            self._loop_is_over.set()
            if self._has_workers:
                ticking.join()
            self._say()

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(
        self,
    ) -> Generator[None, tuple[str, str, object], tuple[str, str, object]]:
        """Print nothing for a single test; the summary needs the category and word."""
        category, letter, word = yield
        return (category, letter, word) if self._loop_is_over.is_set() else (category, "", "")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._running.append(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid)
            self._terminal.write_line(f"FAILED {report.nodeid}", red=True)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._running.remove(nodeid)
        self._finished += 1
        if not self._has_workers and time.monotonic() - self._said_at >= EVERY_SECONDS:
            self._say()

    def _tick(self) -> None:
        while not self._loop_is_over.wait(EVERY_SECONDS):
            self._say()

    def _say(self) -> None:
        self._said_at = time.monotonic()
        minutes, seconds = divmod(int(self._said_at - self._began), 60)
        self._terminal.write_line(f"{minutes}:{seconds:02d}  {self._how_far()}")
        self._terminal.flush()

    def _how_far(self) -> str:
        total = self._session.testscollected
        if not total:
            return "no test yet"
        percent = 100 * self._finished // total
        failed = f", {len(self._failed)} failed" if self._failed else ""
        files = dict.fromkeys(nodeid.partition("::")[0] for nodeid in self._running.copy())
        now = f"; now {', '.join(files)}" if files else ""
        return f"{self._finished:,} of {total:,} tests ({percent}%){failed}{now}"
