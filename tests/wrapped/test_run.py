"""Tests of recording directories and commands without recipes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from prov.errors import CaptureError, ProvError
from prov.records.entries import LOG
from prov.records.lookup import Records
from prov.records.refs import TAGS
from prov.store.repository import Store
from prov.wrapped.run import capture_as, run_as
from prov.wrapped.step import CommandStep

pytestmark = pytest.mark.process

SRC, TEST = CommandStep.parse("app:src"), CommandStep.parse("app:test")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "SECRET": "x", "CC": "gcc"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with one file."""
    path = tmp_path / "src"
    path.mkdir()
    (path / "a").write_text("1\n")
    return path


def quiet(_chunk: bytes) -> None:
    """Ignore a command's output."""


def run(store: Store, folder: Path, script: str, *exclude: str) -> tuple[str, int]:
    """Run a script in a directory; return its tag and its exit status."""
    command = ["sh", "-c", script]
    recorded = run_as(
        store, folder, CommandStep.parse("app:test", exclude=exclude), command, ENVIRONMENT, quiet
    )
    return recorded.tag, recorded.code


def changed(store: Store, tag: str) -> set[str]:
    """Return the files that differ between a tag's commit and its first parent."""
    commit = store.refs.get(TAGS + tag)
    assert commit is not None
    parents = store.objects.commit(commit).parents
    now, before = (
        {(entry.name.decode(), entry.oid) for entry in store.objects.tree(tree)}
        for tree in (
            store.objects.commit(commit).tree,
            store.objects.commit(parents[0]).tree,
        )
    )
    return {name for name, _ in now ^ before}


def test_a_capture_is_tagged(store: Store, folder: Path) -> None:
    first = capture_as(store, folder, SRC)
    assert store.refs.get(TAGS + first.tag) == first.commit
    assert first.tag.startswith("app/src/")
    assert first.tag.endswith("/1")
    assert changed(store, first.tag) == {"a"}
    facts = Records(store).facts(first.commit)
    assert (facts["task"], facts["result"]) == ("app:src", "ok")


def test_a_directory_has_one_history(store: Store, folder: Path) -> None:
    first = capture_as(store, folder, SRC)
    (folder / "b").write_text("2\n")
    second = capture_as(store, folder, CommandStep.parse("other:name"))
    assert store.objects.commit(second.commit).parents[0] == first.commit
    assert changed(store, second.tag) == {"b"}


def test_excluded_files_are_not_captured(store: Store, folder: Path) -> None:
    (folder / "a.o").write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("x")
    captured = capture_as(store, folder, CommandStep.parse("app:src", exclude=["*.o"]))
    assert changed(store, captured.tag) == {"a"}


def test_a_file_is_not_a_directory(store: Store, folder: Path) -> None:
    with pytest.raises(CaptureError, match="is not a directory"):
        capture_as(store, folder / "a", SRC)
    with pytest.raises(CaptureError, match="is not a directory"):
        run_as(store, folder / "nothing", SRC, ["true"], {}, quiet)


def test_a_name_is_a_task_key(store: Store, folder: Path) -> None:
    with pytest.raises(ProvError, match="invalid task name 'src'"):
        capture_as(store, folder, CommandStep.parse("src"))


def test_changes_by_a_command_are_recorded(store: Store, folder: Path) -> None:
    tag, code = run(store, folder, "echo made; echo 2 > b; rm a")
    assert code == 0
    assert changed(store, tag) == {"a", "b"}
    records = Records(store)
    commit = store.refs.get(TAGS + tag)
    assert commit is not None
    assert records.text(commit, LOG) == b"made\n"
    environment = records.record(commit).environment(store.objects)
    assert environment == {"PATH": "/usr/bin:/bin", "CC": "gcc"}
    before = store.objects.commit(commit).parents[0]
    assert store.objects.commit(before).message == "changed outside any task\n"


@pytest.mark.parametrize(
    ("script", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("exit 0", 0), ("false", 1)]
)
def test_the_status_of_a_command(store: Store, folder: Path, script: str, code: int) -> None:
    tag, status = run(store, folder, script)
    assert status == code
    assert tag.startswith("failed/") == (code != 0)


def test_a_missing_command_is_reported(store: Store, folder: Path) -> None:
    with pytest.raises(ProvError, match="cannot run no-such-program: No such file"):
        run_as(store, folder, TEST, ["no-such-program"], ENVIRONMENT, quiet)


def test_output_is_passed_on_as_bytes(store: Store, folder: Path) -> None:
    chunks: list[bytes] = []
    script = r"import sys; sys.stdout.buffer.write(b'\xff\n'); sys.stderr.write('e\n')"
    command = [sys.executable, "-c", script]
    run_as(store, folder, TEST, command, ENVIRONMENT, chunks.append)
    assert sorted(b"".join(chunks).split()) == [b"e", b"\xff"]


def test_equal_commands_on_equal_directories_have_one_hash(store: Store, folder: Path) -> None:
    first, _ = run(store, folder, "true")
    second, _ = run(store, folder, "true")
    assert first.rpartition("/")[0] == second.rpartition("/")[0]
    assert second.endswith("/2")
    other, _ = run(store, folder, "true #")
    assert other.rpartition("/")[0] != first.rpartition("/")[0]
