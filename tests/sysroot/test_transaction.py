"""Transactions of sysroots: their cache files and the order of writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.errors import SysrootConflict
from prov.store.repository import Store
from prov.sysroot.state import SysrootState
from prov.sysroot.transaction import SysrootFiles, Transaction, conflict_error
from prov.worktree.attributes import EMPTY, FileNode, Pair, write_listing
from prov.worktree.merge import Conflict, Owned


@pytest.mark.parametrize(("number", "more"), [(1, ""), (2, " (and 1 more)"), (4, " (and 3 more)")])
def test_error_names_the_first_conflict(number: int, more: str) -> None:
    conflicts = [Conflict(f"usr/{name}".encode(), "a", "b") for name in range(number)]
    error = conflict_error(conflicts, "stage", lambda conflict: f"not {conflict.second}")
    assert str(error) == f"usr/0: a and b stage different content{more}"
    assert error.hint == "not b"


def test_files_are_those_of_one_path(tmp_path: Path) -> None:
    files = SysrootFiles.of(tmp_path, Path("/builds/sysroot"))
    other = SysrootFiles.of(tmp_path, Path("/builds/other"))
    paths = [files.state, files.merges, other.state, other.merges]
    assert len(set(paths)) == 4 and {path.parent for path in paths} == {tmp_path}
    files.state.touch()
    other.state.touch()
    files.delete()
    assert not files.state.exists() and other.state.exists()


def test_sysroot_is_unfinished_between_begin_and_finish(store: Store, tmp_path: Path) -> None:
    files = SysrootFiles.of(tmp_path, Path("/builds/sysroot"))
    with store.objects.writer() as writer:
        listing = {b"a": FileNode(0o100644, writer.add("blob", b"a\n"))}
        pair = write_listing(writer, listing, mtimes=False)
        transaction = Transaction.open(files, writer)
        merged = transaction.merge([Owned("a", pair)], "contain", lambda _conflict: "")
        assert merged == pair
        transaction.begin(merged, EMPTY)
        assert SysrootState.read(files.state) == SysrootState(ready=False, pair=pair)
        transaction.finish(SysrootState(ready=True, pair=pair))
        assert SysrootState.read(files.state) == SysrootState(ready=True, pair=pair)
        assert files.merges.exists()


def test_packages_with_different_content_are_refused(store: Store, tmp_path: Path) -> None:
    files = SysrootFiles.of(tmp_path, Path("/builds/sysroot"))
    with store.objects.writer() as writer:

        def package(text: bytes) -> Pair:
            listing = {b"a": FileNode(0o100644, writer.add("blob", text))}
            return write_listing(writer, listing, mtimes=False)

        packages = [Owned("x", package(b"1")), Owned("y", package(b"2"))]
        with pytest.raises(SysrootConflict, match="a: x and y contain different content"):
            Transaction.open(files, writer).merge(packages, "contain", lambda _conflict: "")
        assert not files.state.exists()
