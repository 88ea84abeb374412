"""Schemathesis, all phases, against a local stack: no 5xx, no answer the document does not tell.

It runs in a process of its own and sends to 127.0.0.1 only. Numbers are whatever it makes up: the
carrier is the simulator, which takes any.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

FOLDER = Path(__file__).parent
PHASES = ("examples", "coverage", "fuzzing", "stateful")


@dataclass(frozen=True)
class Run:
    """`code` is 0 if nothing was found; `phases` counts cases by what made them, `statuses`
    answers by their status."""

    code: int
    said: str
    phases: Counter[str]
    statuses: Counter[int]

    @property
    def cases(self) -> int:
        return self.phases.total()


def against(
    url: str,
    key: str,
    *,
    max_examples: int,
    seed: int | None = None,
    phases: tuple[str, ...] = PHASES,
) -> Run:
    """With an API key; `max_examples` of each operation where they are drawn at random.

    Raises ValueError for a stack that is not on this machine."""
    if urlsplit(url).hostname != "127.0.0.1":
        raise ValueError(f"{url} is not on this machine")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "cases.ndjson"
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                *("--config-file", str(FOLDER / "schemathesis.toml")),
                *("run", f"{url}/openapi.json", "--phases", ",".join(phases)),
                *("--header", f"Authorization: Bearer {key}"),
                *("--max-examples", str(max_examples), "--no-color", "--no-shrink"),
                *(("--seed", str(seed)) if seed is not None else ()),
                *("--report", "ndjson", "--report-ndjson-path", str(report)),
            ],
            env=os.environ
            | {
                "NO_PROXY": "127.0.0.1",
                "PYTHONPATH": str(FOLDER.parents[1]),
                "SCHEMATHESIS_HOOKS": "tests.api_document.checks",
            },
            # It leaves what it learned where it runs.
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout + done.stderr, *_counted(report))


def _counted(report: Path) -> tuple[Counter[str], Counter[int]]:
    phases: Counter[str] = Counter()
    statuses: Counter[int] = Counter()
    for line in report.read_text(encoding="utf-8").splitlines() if report.exists() else []:
        scenario = json.loads(line).get("ScenarioFinished")
        interactions = scenario["recorder"].get("interactions", {}) if scenario else {}
        for interaction in interactions.values():
            if interaction["response"] is not None:
                phases[scenario["phase"]] += 1
                statuses[interaction["response"]["status_code"]] += 1
    return phases, statuses
