"""Forget and collections: what they delete and keep, with an intact store afterwards."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from prov.forget.plan import is_of_others
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import OutputRef, RecordRef, RunRef
from tests.cli.story import Project
from tests.remote.story import is_clean

pytestmark = pytest.mark.process

SECRET = "hunter2-is-the-password"
RUN = RunRef(TaskKey("zlib:compile"), TaskHash(bytes(20)), 1)


@pytest.mark.parametrize(
    ("ref", "others"),
    [
        (RUN, True),
        (RunRef(TaskKey("app:image"), RUN.task_hash, 1, failed=True), False),
        (RecordRef(TaskKey("app:image"), RUN.task_hash, 1), False),
        (OutputRef(RUN.key, RUN.task_hash), True),
        ("refs/tags/v1.0", True),
        ("refs/prov/output/zlib", True),
        ("refs/tags/outside/x86_64/zlib/build/1", False),
        ("refs/prov/workdir/x86_64/zlib/build", False),
        ("refs/notes/commits", False),
    ],
)
def test_refs_of_other_tasks(ref: object, others: bool) -> None:
    assert is_of_others(str(ref), {"app:image"}) is others


class Captured(Project):
    """A folder without recipes, with runs of one directory."""

    def run(self, key: str, script: str, folder: str = "work", *, code: int = 0) -> None:
        (self.root / folder).mkdir(exist_ok=True)
        self.prov("run", "-C", folder, "--as", key, "--", "sh", "-c", script, code=code)

    def tasks(self) -> set[str]:
        """Return the tasks with a recorded run."""
        rows = self.git("for-each-ref", "--format=%(refname)", "refs/tags").split()
        return {
            ":".join(row.removeprefix("refs/tags/").removeprefix("failed/").split("/")[:2])
            for row in rows
        }

    def holds(self, text: str) -> bool:
        """Return whether any file in the store's folder contains a text, even in packs."""
        command = [
            "git",
            f"--git-dir={self.root / '.prov'}",
            "cat-file",
            "--batch-all-objects",
            "--batch",
        ]
        packed = subprocess.run(command, capture_output=True, check=True).stdout
        plain = subprocess.run(["grep", "-rqa", text, self.root / ".prov"], check=False)
        return text.encode() in packed or plain.returncode == 0

    def is_whole(self) -> None:
        is_clean(self.root / ".prov")
        self.prov("fsck")


@pytest.fixture
def runs(tmp_path: Path) -> Captured:
    project = Captured(tmp_path)
    project.prov("init")
    return project


def test_later_runs_of_a_directory_stay(runs: Captured) -> None:
    for number in range(4):
        runs.run(f"step:n{number}", f"echo {number} > file{number}; echo same log")
    runs.prov("forget", "step:n1")
    assert runs.tasks() == {"step:n0", "step:n2", "step:n3"}
    runs.is_whole()
    line = runs.git("log", "--first-parent", "--format=%s", runs.tag("step:n3")).split("\n")
    assert [each for each in line if each.startswith("step:")] == ["step:n3", "step:n2", "step:n0"]
    assert runs.git("show", f"{runs.tag('step:n3')}:file3") == "3\n"
    assert "same log" in runs.ask("log", "step:n0") or "same log" in runs.git(
        "show", f"{runs.tag('step:n0')}^2:log"
    )
    runs.run("step:n4", "echo 4 > file4")
    assert runs.tasks() == {"step:n0", "step:n2", "step:n3", "step:n4"}
    runs.is_whole()


def test_only_the_last_run_of_a_directory_is_deleted(runs: Captured) -> None:
    for number in range(3):
        runs.run(f"step:n{number}", f"echo {number} > file")
    runs.prov("forget", "step:n2")
    runs.prov("forget", "step:n0")
    assert runs.tasks() == {"step:n1"}
    runs.run("step:n3", "echo 3 > file")
    runs.is_whole()


def test_a_text_is_deleted_from_the_runs_that_contain_it(runs: Captured) -> None:
    """Runs before it was added and after it was removed stay."""
    runs.run("step:before", "echo 1 > file")
    runs.run("step:leaks", f"echo {SECRET} > password")
    runs.run("step:still", "echo 2 > file")
    runs.run("step:removed", "rm password")
    runs.run("step:fails", f"echo {SECRET}; exit 3", code=3)
    runs.run("step:after", "echo 3 > file")
    assert "refs/tags/step/after" in runs.ask("forget", "--containing", SECRET, "-n")
    runs.prov("forget", "--containing", SECRET)
    assert runs.tasks() == {"step:before", "step:removed", "step:after"}
    assert not runs.holds(SECRET)
    runs.is_whole()
    assert runs.refused("forget", "--containing", SECRET).startswith(
        "prov: no file in the store contains that text"
    )
    runs.run("step:more", "echo 4 > file")
    runs.is_whole()


def test_a_task_and_a_text_narrow_each_other(runs: Captured) -> None:
    runs.run("a:one", f"echo {SECRET} > x", "p")
    runs.run("a:one", "rm x", "p")
    runs.run("b:two", f"echo {SECRET} > y", "q")
    before = runs.refs()
    for task, text in (("a:one", "nowhere-is-this"), ("b:two", "rm x")):
        runs.refused("forget", task, "--containing", text)
        assert runs.refs() == before
    done = runs.prov("forget", "a:one", "--containing", SECRET, code=1)
    assert "in runs of other tasks" in done.stdout
    assert runs.tasks() == {"a:one", "b:two"}
    assert len(runs.git("for-each-ref", "refs/tags/a").splitlines()) == 1
    runs.is_whole()
    runs.prov("forget", "b:two", "--containing", SECRET)
    assert runs.tasks() == {"a:one"}
    assert not runs.holds(SECRET)
    runs.is_whole()


def test_the_numbers_of_runs_have_no_gap(runs: Captured) -> None:
    """A run after a deleted one keeps its number."""
    for _ in range(3):
        runs.run("step:same", "true")
    tags = runs.git("for-each-ref", "--format=%(refname:strip=2)", "refs/tags/step").split()
    runs.prov("forget", tags[0])
    runs.is_whole()
    assert set(
        runs.git("for-each-ref", "--format=%(refname:strip=2)", "refs/tags/step").split()
    ) == set(tags[1:])


def test_what_git_remembers_is_forgotten(runs: Captured) -> None:
    """Reflogs, ORIG_HEAD, FETCH_HEAD, caches, and leftovers of killed processes."""
    runs.run("step:leaks", f"echo {SECRET} > password")
    store = runs.root / ".prov"
    commit = runs.git("rev-parse", runs.tag("step:leaks")).strip()
    (store / "logs/refs/tags").mkdir(parents=True)
    by = "prov <prov@localhost> 1 +0000"
    (store / "logs/HEAD").write_text(f"{'0' * 40} {commit} {by}\t{SECRET}\n")
    (store / "logs/refs/tags/x").write_text(f"{'0' * 40} {commit} {by}\n{commit} {'0' * 40} {by}\n")
    (store / "ORIG_HEAD").write_text(f"{commit}\n")
    (store / "FETCH_HEAD").write_text(f"{commit}\t\tof {SECRET}\n")
    (store / "objects/pack/tmp_pack_x").write_text(SECRET)
    (store / "prov/parsed").write_bytes(SECRET.encode())
    (store / "prov/remotes/gone/abc/whole").mkdir(parents=True)
    (store / "prov/remotes/gone/abc/whole/x").write_text(SECRET)
    (store / "prov/direct/xyz").mkdir(parents=True)
    (store / "prov/direct/xyz/file").write_text(SECRET)
    runs.prov("forget", "--containing", SECRET)
    assert not runs.holds(SECRET)
    assert not (store / "ORIG_HEAD").exists() and not (store / "FETCH_HEAD").exists()
    runs.is_whole()


def test_a_name_of_a_file_is_found(runs: Captured) -> None:
    runs.run("step:named", f"touch {SECRET}.txt")
    runs.run("step:gone", f"rm {SECRET[:8]}*.txt")
    runs.prov("forget", "--containing", f"{SECRET}.txt")
    assert runs.tasks() == {"step:gone"}
    runs.is_whole()


def test_refs_of_a_users_own(runs: Captured) -> None:
    runs.run("step:leaks", f"echo {SECRET} > password")
    runs.run("step:after", "rm password")
    blob = runs.git("rev-parse", f"{runs.tag('step:leaks')}:password").strip()
    by = ("-c", "user.name=a", "-c", "user.email=a@b")
    runs.git(*by, "tag", "-a", "-m", "mine", "mine", runs.tag("step:leaks"))
    runs.git("update-ref", "refs/notes/blob", blob)
    runs.git("update-ref", "refs/heads/later", runs.tag("step:after"))
    runs.prov("forget", "--containing", SECRET)
    assert not runs.holds(SECRET)
    assert "refs/heads/later" in runs.refs()
    assert "refs/tags/mine" not in runs.refs()
    is_clean(runs.root / ".prov")


def test_on_a_terminal_it_asks(runs: Captured) -> None:
    runs.run("step:one", "echo 1 > file")
    for typed, stays in (("n\n", True), ("y\n", False)):
        said = on_a_terminal(runs.root, typed, "forget", "step:one")
        assert "refs/tags/step/one" in said
        assert "Remove it permanently?" in said
        assert ("step:one" in runs.tasks()) is stays
    runs.run("step:two", "echo 2 > file")
    assert "Remove it" not in on_a_terminal(runs.root, "", "forget", "--yes", "step:two")
    assert runs.tasks() == set()


def on_a_terminal(root: Path, typed: str, *arguments: str) -> str:
    """Run a command on a terminal, and return its output."""
    from tests.commands import PROV

    ours, its = os.openpty()
    child = subprocess.Popen(
        [PROV, *arguments], cwd=root, stdin=its, stdout=its, stderr=its, start_new_session=True
    )
    os.close(its)
    os.write(ours, typed.encode())
    said = b""
    try:
        while chunk := os.read(ours, 4096):
            said += chunk
    except OSError:  # the child closed its end
        pass
    os.close(ours)
    child.wait(60)
    return said.decode()


def test_a_collection_keeps_tags_that_would_free_nothing(runs: Captured) -> None:
    """Runs of one directory share a history: they stay as long as its last run."""
    for number in range(6):
        runs.run(f"step:n{number % 2}", f"echo {number} > file")
    runs.run("other:one", "echo x > y", "q")
    before = runs.git("for-each-ref", "refs/tags")
    said = runs.ask("gc", "--workdirs", "1", "--days", "0", "--builds", "1")
    assert "by rule" not in said
    assert runs.git("for-each-ref", "refs/tags") == before
    runs.is_whole()
