import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.template import document


@pytest.fixture(scope="session")
def deployed() -> dict[str, Any]:
    return document.translated()


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sam build` makes for this very machine and Python: a folder for each function, one
    for the layer."""
    folder = tmp_path_factory.mktemp("sam") / "build"
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("sam")), "build"),
            *("--template-file", str(document.TEMPLATE), "--build-dir", str(folder)),
        ],
        env=os.environ
        | {
            "AWS_DEFAULT_REGION": "us-east-1",
            "LAYER_ARCH": "host",
            "LAYER_PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
            "PYTHON": sys.executable,
            "SAM_CLI_TELEMETRY": "0",
        },
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
