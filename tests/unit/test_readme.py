"""What the README says is tested is: every test and file that it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_test_that_it_names_is_there():
    files = (ROOT / "tests").rglob("test_*.py")
    defined = {
        name
        for path in files
        for name in re.findall(r"^ *def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+…?)`", README))
    assert len(named) > 50
    unknown = {
        name
        for name in named
        if not any(
            each.startswith(name[:-1]) if name.endswith("…") else each == name for each in defined
        )
    }
    assert unknown == set()


def test_every_file_of_ours_that_it_names_is_there():
    named = set(re.findall(r"`((?:tests|functions|layers|events)/[\w./]+)`", README))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
