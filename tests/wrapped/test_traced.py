"""Tests of traced commands in a directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from prov.errors import ProvError
from prov.reads.reads import Reads, decode_reads
from prov.reads.strace import Strace
from prov.records.entries import READS
from prov.records.lookup import Records
from prov.store.repository import Store
from prov.wrapped.step import CommandStep
from prov.wrapped.traced import trace_as
from tests.wrapped.random_scripts import PATH

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with a file and version control data."""
    path = tmp_path / "src"
    (path / ".git").mkdir(parents=True)
    (path / "a").write_text("1\n")
    return path


def trace(store: Store, folder: Path, *command: str, search_path: str = PATH) -> Reads:
    """Run a command under strace; return what its record states that it read."""
    step, environment = CommandStep.parse("app:test"), {"PATH": search_path}
    strace = Strace.find(PATH)
    ran = trace_as(store, folder, step, command, environment, len, strace)
    return decode_reads(Records(store).text(ran.commit, READS))


def rows(reads: Reads) -> dict[str, tuple[str, str]]:
    return {row.path: (row.kinds, row.state) for row in reads.rows}


def test_states_are_those_before_the_command(store: Store, folder: Path) -> None:
    reads = trace(store, folder, "sh", "-c", "cat a; echo 2 > a; echo 3 > b; rm b; exit 3")
    assert reads.is_complete
    states = rows(reads)
    one = "d00491fd7e5bb6fa28c517a0bb32b8b506539d4d"
    assert states["a"] == ("ow", f"file 644 {one}")
    assert states["b"] == ("w", "missing")
    assert states["."] == ("s", "directory 755")


def test_version_control_data_is_read_from_disk(store: Store, folder: Path) -> None:
    (folder / ".git/HEAD").write_text("1\n")
    reads = trace(store, folder, "cat", ".git/HEAD")
    assert rows(reads)[".git/HEAD"][0] == "o"
    assert reads.is_complete or "changed while the command ran" in reads.problem
    reads = trace(store, folder, "sh", "-c", "echo 1 > .git/HEAD")
    assert ".git/HEAD, which is not recorded" in reads.probes
    assert reads.opens == "complete"


def test_the_search_for_the_program_is_recorded(store: Store, folder: Path) -> None:
    (folder / "bin").mkdir()
    reads = trace(store, folder, "true", search_path=f"bin:/none:{PATH}")
    assert rows(reads)["bin/true"] == ("m", "missing")
    assert rows(reads)["/none/true"] == ("m", "missing")


@pytest.mark.parametrize("name", ["no-such-program", "./a", "none/x"])
def test_a_missing_program(store: Store, folder: Path, name: str) -> None:
    with pytest.raises(ProvError, match=f"cannot run {name}: no such program"):
        trace(store, folder, name)


def test_temporary_files_are_not_listed(store: Store, folder: Path) -> None:
    reads = trace(store, folder, "sh", "-c", "t=$(mktemp); u=$(mktemp -p .); rm $t $u")
    assert reads.is_complete
    assert not [row.path for row in reads.rows if "tmp." in row.path]


def test_a_hardlinked_file_that_is_written(store: Store, folder: Path) -> None:
    (folder / "b").hardlink_to(folder / "a")
    reads = trace(store, folder, "sh", "-c", "echo 2 > a")
    assert reads.probes == "incomplete: a, which has several links, is written"
