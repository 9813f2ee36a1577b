"""The log of a bisection: complete, cut off, malformed, and of a different user."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.bisect.log import Log, Question
from prov.errors import ProvError

QUESTION = Question("1" * 40, "2" * 40, "app:image@output", ("./test.sh", "{}"), 3, False)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    log = Log(tmp_path / "bisect")
    log.begin(QUESTION)
    return log


def test_begins_with_a_question(log: Log) -> None:
    content = log.read()
    assert (content.question, content.verdicts, content.flaky) == (QUESTION, {}, False)
    assert log.is_own(content)


def test_verdicts_are_appended(log: Log) -> None:
    log.add("aa", "bad", "build 1", flaky=False)
    log.add("bb", "skip", "build 2", flaky=True)
    content = log.read()
    assert content.verdicts == {"aa": "bad", "bb": "skip"}
    assert content.flaky


def test_a_truncated_line_is_ignored(log: Log) -> None:
    log.add("aa", "bad", "build 1", flaky=False)
    with open(log.path, "ab") as stream:
        stream.write(b'{"tree": "bb", "ver')
    assert log.read().verdicts == {"aa": "bad"}
    log.add("cc", "good", "build 3", flaky=False)
    assert log.read().verdicts == {"aa": "bad", "cc": "good"}
    assert len(log.lines()) == 3


def test_a_log_elsewhere_is_not_this_users(log: Log, tmp_path: Path) -> None:
    copy = Log(tmp_path / "copy")
    copy.path.write_bytes(log.path.read_bytes())
    assert not copy.is_own(copy.read())
    copy.copy(log)
    assert copy.is_own(copy.read())


def test_a_changed_question_is_not_this_users(log: Log) -> None:
    text = log.path.read_text().replace("./test.sh", "./evil.sh")
    log.path.write_text(text)
    assert not log.is_own(log.read())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}\n",
        "[]\n",
        "not JSON\n",
        '{"question": {"good": "1"}}\n',
        '{"question": {"good": 1, "bad": "2", "name": "a", "command": ["a"]}}\n',
        '{"question": {"good": "1", "bad": "2", "name": "a", "command": []}}\n',
        '{"question": {"good": "1", "bad": "2", "name": "a", "command": ["a"], "repeat": "x"}}\n',
        '{"question": {"good": "1", "bad": "2", "name": "a", "command": ["a"]}}\n'
        '{"tree": "a", "verdict": "perhaps"}\n',
    ],
)
def test_malformed(log: Log, text: str) -> None:
    log.path.write_text(text)
    with pytest.raises(ProvError):
        log.read()


def test_without_a_log(tmp_path: Path) -> None:
    with pytest.raises(ProvError, match="no bisection"):
        Log(tmp_path / "none").read()
