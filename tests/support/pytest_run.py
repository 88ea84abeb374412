"""A run of pytest in a process and a folder of its own, for tests about the test run itself."""

import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def command(folder: Path, *arguments: str) -> dict[str, Any]:
    """What `subprocess` takes to run the tests in `folder`."""
    return {
        "args": [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments),
            *("--rootdir", str(folder), str(folder)),
        ],
        "env": {"PYTHONPATH": f"{ROOT}:{ROOT / 'layers' / 'shared'}"},
        "cwd": folder,
        "text": True,
    }


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the tests in `folder` to the end, whether they pass or fail."""
    return subprocess.run(**command(folder, *arguments), capture_output=True, check=False)
