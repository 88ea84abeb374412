import sys

import pytest

from tests.bench import dialer


def test_every_client_who_answers_talks_if_requests_are_paced() -> None:
    load = dialer.run(6, 6.0, 1.0, paced=True)

    assert (load.accepted, load.answered, load.talked) == (6, 6, 6)
    assert load.longest_wait <= 10
    assert load.outcomes == {"completed": 6}


def test_the_table_has_a_line_with_pace_and_one_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dialer", "--requests", "2", "--seconds", "2"])

    assert dialer.main() == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line[:14].strip() for line in lines if " s " in line] == ["with pace", "without pace"]
