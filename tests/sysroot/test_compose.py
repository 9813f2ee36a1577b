from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from prov.errors import SysrootConflict
from prov.store.repository import Store
from prov.sysroot import compose
from prov.sysroot.state import SysrootState
from prov.worktree.attributes import Pair
from prov.worktree.checkout import checkout
from prov.worktree.merge import Owned, union
from prov.worktree.pool import Pool
from prov.worktree.verify import FolderState, folder_states
from tests.sysroot.conftest import Composer, fingerprint, some_packages
from tests.trees import describe


def test_the_tree_returned_is_the_union_and_git_has_it(composer: Composer, tmp_path: Path) -> None:
    packages = some_packages(composer, tmp_path)
    pair = composer.compose(tmp_path / "sysroot", packages)
    with composer.store.objects.writer() as writer:
        assert union(writer, packages) == (pair, ())
    assert composer.store.objects.exists(pair.tree)


def test_files_cost_a_link(composer: Composer, tmp_path: Path) -> None:
    [package] = [Owned("p", composer.package(tmp_path / "p", {"usr/lib/l": "x"}))]
    for name in ("one", "two"):
        composer.compose(tmp_path / name, [package])
    assert (tmp_path / "one/usr/lib/l").stat().st_ino == (tmp_path / "two/usr/lib/l").stat().st_ino


CONFLICTS = [
    ({"usr/f": "x"}, {"usr/f": "y"}, "usr/f"),
    ({"usr/f": "x"}, {"usr/f/g": "y"}, "usr/f"),
    ({"usr/bin/f": "x", "usr/a": "1"}, {"usr/bin/f": "y", "usr/a": "2"}, "usr/a"),
]


@pytest.mark.parametrize(("first", "second", "path"), CONFLICTS)
def test_a_conflict_names_path_and_owners_and_touches_nothing(
    composer: Composer, tmp_path: Path, first: dict[str, str], second: dict[str, str], path: str
) -> None:
    there = Owned("there", composer.package(tmp_path / "there", {"etc/f": "x"}))
    packages = [
        Owned("zlib:install", composer.package(tmp_path / "a", first)),
        Owned("bzip2:install", composer.package(tmp_path / "b", second)),
    ]
    composer.compose(tmp_path / "sysroot", [there])
    before = fingerprint(tmp_path / "sysroot"), fingerprint(composer.sysroots.states)
    with pytest.raises(SysrootConflict) as raised:
        composer.compose(tmp_path / "sysroot", [there, *packages])
    for word in (path, "zlib:install", "bzip2:install"):
        assert word in str(raised.value)
    assert (fingerprint(tmp_path / "sysroot"), fingerprint(composer.sysroots.states)) == before
    with pytest.raises(SysrootConflict):
        composer.compose(tmp_path / "new", packages)
    assert not (tmp_path / "new").exists()


def test_the_same_request_does_nothing(composer: Composer, tmp_path: Path) -> None:
    packages = some_packages(composer, tmp_path)
    composer.compose(tmp_path / "sysroot", packages)
    before = fingerprint(tmp_path / "sysroot")
    composer.compose(tmp_path / "sysroot", packages[::-1])
    composer.compose(tmp_path / "sysroot", [*packages, packages[0]])
    assert fingerprint(tmp_path / "sysroot") == before


def test_shared_files_are_not_touched(composer: Composer, tmp_path: Path) -> None:
    packages = some_packages(composer, tmp_path)
    composer.compose(tmp_path / "sysroot", packages[:4:2])
    before = fingerprint(tmp_path / "sysroot" / "only0")
    composer.compose(tmp_path / "sysroot", [packages[0], packages[4]])
    after = fingerprint(tmp_path / "sysroot" / "only0")
    assert {path: row[:2] for path, row in after.items()} == {
        path: row[:2] for path, row in before.items()
    }


@pytest.mark.parametrize("damage", ["no state", "garbage", "unknown tree", "no directory"])
def test_an_incomplete_sysroot_is_composed_again(
    composer: Composer, tmp_path: Path, damage: str
) -> None:
    packages = some_packages(composer, tmp_path)
    composer.compose(tmp_path / "sysroot", packages)
    expected = describe(tmp_path / "sysroot")
    [state] = composer.sysroots.states.glob("*.state")
    if damage == "no directory":
        shutil.rmtree(tmp_path / "sysroot")
    else:
        (tmp_path / "sysroot" / "usr" / "share" / "common").unlink()
        (tmp_path / "sysroot" / "half").write_text("made")
    if damage == "no state":
        state.unlink()
    elif damage == "garbage":
        state.write_text("half a li")
    elif damage == "unknown tree":
        SysrootState(True, pair=Pair(b"\xab" * 20, None)).write(state)
    composer.compose(tmp_path / "sysroot", packages)
    assert describe(tmp_path / "sysroot") == expected


def test_an_interrupted_composition_is_detected(
    composer: Composer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = some_packages(composer, tmp_path)
    composer.compose(tmp_path / "sysroot", packages[:3])
    placed = Pool.place

    def dies(self: Pool, node: object, path: bytes, folder: int) -> None:
        if path.endswith(b"/l5"):
            raise KeyboardInterrupt
        placed(self, node, path, folder)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Pool, "place", dies)
        composer.compose(tmp_path / "sysroot", packages)
    [state] = composer.sysroots.states.glob("*.state")
    assert not (SysrootState.read(state) or SysrootState(ready=True)).ready
    composer.compose(tmp_path / "sysroot", packages)
    composer.compose(tmp_path / "fresh", packages)
    assert describe(tmp_path / "sysroot") == describe(tmp_path / "fresh")


def test_two_at_once_do_not_meet(composer: Composer, tmp_path: Path) -> None:
    packages = some_packages(composer, tmp_path)
    children = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                own = Composer(Store.open(composer.store.path))
                for _ in range(5):
                    own.compose(tmp_path / "sysroot", packages[: 2 * number + 2])
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    composer.compose(tmp_path / "sysroot", packages)
    composer.compose(tmp_path / "fresh", packages)
    assert describe(tmp_path / "sysroot") == describe(tmp_path / "fresh")


def test_a_sysroot_of_nothing_is_an_empty_folder(composer: Composer, tmp_path: Path) -> None:
    composer.compose(tmp_path / "sysroot", [])
    assert list((tmp_path / "sysroot").iterdir()) == []


def test_each_folder_is_looked_at_once(
    composer: Composer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seal of a changed sysroot needs only the changed folders again."""
    first = [composer.owned(f"p{n}", {f"usr/p{n}/inside/f": "f"}) for n in range(9)]
    composer.compose(tmp_path / "s", first)
    looked: list[list[bytes]] = []

    def counting(directory: Path, folders: Iterable[bytes]) -> dict[bytes, FolderState]:
        looked.append(sorted(folders))
        return folder_states(directory, looked[-1])

    monkeypatch.setattr(compose, "folder_states", counting)
    changed = composer.owned("p0", {"usr/p0/inside/f": "g"})
    composer.compose(tmp_path / "s", [changed, *first[1:]])
    [before, after] = looked
    assert len(before) == 20
    assert after == [b"", b"usr/p0/inside"]
    looked.clear()
    composer.compose(tmp_path / "s", [changed, *first[1:]])
    assert [len(folders) for folders in looked] == [20]


def test_a_change_during_a_composition_is_undone_by_the_next(
    composer: Composer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [composer.owned(name, {f"usr/{name}/f": "f"}) for name in "abc"]
    composer.compose(tmp_path / "s", first)
    time.sleep(0.02)
    real = checkout

    def meanwhile(*arguments: Any, **options: Any) -> int:
        (tmp_path / "s/usr/c/stranger").touch()
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(compose, "checkout", meanwhile)
        composer.compose(tmp_path / "s", first[1:])
    notes = composer.composed(tmp_path / "s", first[1:]).notes
    assert "usr/c/stranger (was added)" in notes[0]
    assert not (tmp_path / "s/usr/c/stranger").exists()
