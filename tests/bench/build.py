"""What the measurements run: the layer, the textbook functions' packages and compiled handlers.

An interpreter with pip builds for itself. Lambda runs 3.13.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers" / "shared"
TEXTBOOK = Path(__file__).parent / "textbook"


class NotBuilt(Exception):
    """pip, make or the compiler failed. The message is what it printed."""


class Build(NamedTuple):
    """Folders for sys.path: of our functions, and of the textbook functions."""

    python: str
    ours: tuple[Path, ...]
    textbook: tuple[Path, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--python",
        default=os.path.realpath(sys.executable),
        help="an interpreter with pip (default: this one); Lambda runs 3.13",
    )
    parser.add_argument("--layer", type=Path, help="a built layer's python folder")
    parser.add_argument(
        "--installed",
        action="store_true",
        help="build nothing, and use what is installed here: quick, but not what is deployed",
    )


def make(arguments: argparse.Namespace, work: Path) -> Build:
    """Build into the folder `work`. Raises NotBuilt."""
    if arguments.installed:
        return Build(os.path.realpath(sys.executable), *installed_paths())
    python = arguments.python
    layer = arguments.layer or build_layer(python, work / "layer")
    return Build(python, (layer,), (install_textbook(python, work / "textbook-layer"),))


def installed_paths() -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Folders of what is installed here, for our functions and for the textbook's."""
    packages = Path(sysconfig.get_path("purelib"))
    return (LAYER, packages), (packages,)


def build_layer(python: str, into: Path) -> Path:
    """The layer's folder for the interpreter, as `sam build` makes it for Lambda's."""
    _run(
        [
            *("make", "--no-print-directory", "-C", str(LAYER), "build-SharedLayer"),
            *(f"ARTIFACTS_DIR={into}", "LAYER_ARCH=host", f"PYTHON={python}"),
            f"LAYER_PYTHON={version(python)}",
        ]
    )
    return into / "python"


def install_textbook(python: str, into: Path) -> Path:
    """What pip installs for the textbook functions, compiled, with the layer's versions."""
    _run(
        [
            *(python, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(into)),
            *("--disable-pip-version-check", "--root-user-action=ignore"),
            *("--constraint", str(ROOT / "tests" / "constraints.txt")),
            *("--requirement", str(TEXTBOOK / "requirements.txt")),
        ]
    )
    _compile(python, into)
    return into


def copy_function(python: str, folder: Path, into: Path) -> Path:
    """A copy of a function's folder, compiled."""
    shutil.copytree(folder, into, ignore=shutil.ignore_patterns("__pycache__"))
    _compile(python, into)
    return into


def size(folder: Path) -> tuple[int, int]:
    """Bytes of a folder's files, and of a zip file that contains them."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    archive = folder.parent / "layer.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in files:
            zipped.write(path, path.relative_to(folder.parent))
    packed = archive.stat().st_size
    archive.unlink()
    return sum(path.stat().st_size for path in files), packed


def version(python: str) -> str:
    """Such as 3.13."""
    said = "import sys; print('%d.%d' % sys.version_info[:2])"
    return _run([python, "-c", said]).strip()


def _compile(python: str, folder: Path) -> None:
    mode = "--invalidation-mode=unchecked-hash"
    _run([python, "-m", "compileall", "-q", "-j", "0", mode, str(folder)])


def _run(command: list[str]) -> str:
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, env=kept, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotBuilt(done.stdout + done.stderr)
    return done.stdout
