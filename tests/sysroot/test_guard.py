"""A write through a hardlink is detected, and the pool and every sysroot are restored."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from prov.sysroot.state import boot_id
from prov.worktree.merge import Owned
from tests.sysroot.conftest import Composer, File, Folder, Link, Spec, folders
from tests.trees import describe, in_order

CONTENT = b"a program, with symbols\n" * 10
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def packages(composer: Composer) -> list[Owned]:
    spec: Spec = {
        "usr/bin/tool": File(CONTENT, 0o755),
        "usr/data": File(CONTENT),
        "usr/su": File(CONTENT, 0o4755),
        "usr/empty": File(b""),
        "usr/link": Link(b"data"),
        "usr/folder": Folder(0o755),
    }
    return [composer.owned("p", spec), composer.owned("q", {"usr/q": "q"})]


def in_place(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """Change a file and restore its mtime, as `strip -p` does."""

    def changed(path: Path) -> None:
        before = path.stat().st_mtime_ns
        change(path)
        os.utime(path, ns=(before, before))

    return changed


def write(path: Path) -> None:
    with open(path, "r+b") as stream:
        stream.write(b"A PROGRAM")


def append(path: Path) -> None:
    with open(path, "ab") as stream:
        stream.write(b"more")


def replace(path: Path) -> None:
    path.with_name("new").write_bytes(CONTENT)
    path.with_name("new").rename(path)


def become_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


THROUGH_A_LINK: dict[str, tuple[Callable[[Path], None], str]] = {
    "written": (write, "was written to"),
    "appended": (append, "was written to, has 244 bytes now"),
    "appended, date kept": (in_place(append), "was written to, has 244 bytes now"),
    "truncated": (lambda path: os.truncate(path, 100), "was written to, has 100 bytes now"),
    "truncated, date kept": (
        in_place(lambda path: os.truncate(path, 100)),
        "was written to, has 100 bytes now",
    ),
    "emptied, date kept": (
        in_place(lambda path: os.truncate(path, 0)),
        "was written to, has 0 bytes now",
    ),
    "made executable": (lambda path: path.chmod(0o775), "its mode was"),
    "set uid": (lambda path: path.chmod(0o6755), "its mode was"),
    "closed": (lambda path: path.chmod(0), "its mode was"),
    "touched": (lambda path: os.utime(path), "was written to"),
    "dated": (lambda path: os.utime(path, (0, 0)), "was written to"),
}
OTHERWISE: dict[str, tuple[Callable[[Path], None], str]] = {
    "removed": (Path.unlink, "deleted"),
    "replaced by the same": (replace, "was written to"),
    "made a link": (become_a_link, "has a different type"),
}


@pytest.mark.parametrize("name", ["usr/bin/tool", "usr/data", "usr/su"])
@pytest.mark.parametrize("how", [*THROUGH_A_LINK, pytest.param("given away", marks=needs_root)])
def test_a_write_through_a_link_is_detected_before_it_spreads(
    composer: Composer, packages: list[Owned], tmp_path: Path, how: str, name: str
) -> None:
    change, detail = THROUGH_A_LINK.get(how, (lambda path: os.chown(path, 1, 1), "its owner is 1"))
    one, two = tmp_path / "one", tmp_path / "two"
    composer.compose(one, packages)
    expected = describe(one)
    composer.compose(two, packages[:1])
    assert composer.check(one) == composer.check(two) == []
    change(one / name)
    [found] = composer.check(one)
    assert (found.path, found.what) == (name.encode(), "changed")
    assert detail in str(found)
    composer.assert_pool_intact()
    composer.compose(tmp_path / "three", packages)
    assert describe(tmp_path / "three") == expected
    again = composer.composed(one, packages)
    assert describe(one) == expected
    assert again.notes == ()
    [note] = composer.composed(two, packages).notes
    assert "two was changed after it was composed; composing it again" in note
    assert describe(two) == expected
    assert composer.check(one) == composer.check(two) == composer.check(tmp_path / "three") == []


@pytest.mark.parametrize("how", OTHERWISE)
def test_a_change_to_one_sysroot_is_detected_there(
    composer: Composer, packages: list[Owned], tmp_path: Path, how: str
) -> None:
    change, detail = OTHERWISE[how]
    composer.compose(tmp_path / "one", packages)
    composer.compose(tmp_path / "two", packages)
    expected, before = describe(tmp_path / "one"), folders(composer.sysroots.pool.folder)
    change(tmp_path / "one/usr/data")
    [found] = composer.check(tmp_path / "one")
    assert (found.path, detail in str(found)) == (b"usr/data", True)
    assert folders(composer.sysroots.pool.folder) == before
    untouched = folders(tmp_path / "two")
    for name in ("one", "two"):
        assert composer.composed(tmp_path / name, packages).notes == ()
        assert describe(tmp_path / name) == expected
    assert folders(tmp_path / "two") == untouched


SMALL: dict[str, tuple[Callable[[Path], object], list[tuple[bytes, str]]]] = {
    "a file is added": (lambda top: (top / "usr/new").touch(), [(b"usr/new", "added")]),
    "a full folder is added": (
        lambda top: shutil.copytree(top / "usr", top / "new"),
        [(b"new", "added")],
    ),
    "a folder is removed": (lambda top: (top / "usr/folder").rmdir(), [(b"usr/folder", "deleted")]),
    "all is removed": (lambda top: shutil.rmtree(top / "usr"), [(b"usr", "deleted")]),
    "a folder is closed": (
        lambda top: (top / "usr/folder").chmod(0o500),
        [(b"usr/folder", "changed")],
    ),
    "a link leads elsewhere": (
        in_order(
            lambda top: (top / "usr/link").unlink(),
            lambda top: (top / "usr/link").symlink_to("su"),
        ),
        [(b"usr/link", "changed")],
    ),
    "an empty file is written": (
        lambda top: (top / "usr/empty").write_text("x"),
        [(b"usr/empty", "changed")],
    ),
    "a file is renamed": (
        lambda top: (top / "usr/q").rename(top / "usr/r"),
        [(b"usr/q", "deleted"), (b"usr/r", "added")],
    ),
    "a link replaces a folder": (
        in_order(
            lambda top: (top / "usr/folder").rmdir(),
            lambda top: (top / "usr/folder").symlink_to("/etc"),
        ),
        [(b"usr/folder", "changed")],
    ),
}


@pytest.mark.parametrize("what", SMALL)
def test_any_change_to_a_sysroot_is_named_and_undone(
    composer: Composer, packages: list[Owned], tmp_path: Path, what: str
) -> None:
    change, expected = SMALL[what]
    composer.compose(tmp_path / "sysroot", packages)
    before = describe(tmp_path / "sysroot")
    change(tmp_path / "sysroot")
    assert [(found.path, found.what) for found in composer.check(tmp_path / "sysroot")] == expected
    assert not composer.state(tmp_path / "sysroot").ready
    assert composer.check(tmp_path / "sysroot") == []
    composer.compose(tmp_path / "sysroot", packages)
    assert describe(tmp_path / "sysroot") == before
    assert composer.sysroots.pool.generation() == 0


SEEN = [what for what in SMALL if what not in ("a folder is closed", "an empty file is written")]


@pytest.mark.parametrize("what", SEEN)
def test_added_and_deleted_entries_are_undone(
    composer: Composer, packages: list[Owned], tmp_path: Path, what: str
) -> None:
    change, _ = SMALL[what]
    for number, wanted in enumerate([packages, packages[:1]]):
        composer.compose(tmp_path / f"sysroot{number}", packages)
        composer.compose(tmp_path / f"fresh{number}", wanted)
        change(tmp_path / f"sysroot{number}")
        [note] = composer.composed(tmp_path / f"sysroot{number}", wanted).notes
        assert "was changed after it was composed; composing it again" in note
        assert describe(tmp_path / f"sysroot{number}") == describe(tmp_path / f"fresh{number}")


@pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("strip")), reason="gcc or strip is missing"
)
def test_strip_with_the_date_kept_is_found(composer: Composer, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    command = ["gcc", "-g", "-x", "c", "-", "-o", str(tmp_path / "made" / "prog")]
    subprocess.run(command, input=b"int main(void) { return 0; }", check=True)
    package = Owned("p", composer.work.output(tmp_path / "made"))
    composer.compose(tmp_path / "one", [package])
    composer.compose(tmp_path / "two", [package])
    before, expected = (tmp_path / "two/prog").stat(), describe(tmp_path / "two")
    subprocess.run(["strip", "-p", tmp_path / "one/prog"], check=True)
    after = (tmp_path / "two/prog").stat()
    if after.st_ino != (tmp_path / "one/prog").stat().st_ino:
        pytest.skip("this strip does not write in place")
    assert after.st_size < before.st_size
    [found] = composer.check(tmp_path / "one")
    assert "was written to" in str(found)
    assert composer.composed(tmp_path / "two", [package]).notes
    assert describe(tmp_path / "two") == expected
    composer.assert_pool_intact()


def test_an_undetected_change_is_found_by_the_next_link(
    composer: Composer, packages: list[Owned], tmp_path: Path
) -> None:
    composer.compose(tmp_path / "one", packages)
    expected = describe(tmp_path / "one")
    write(tmp_path / "one/usr/data")
    [note] = composer.composed(tmp_path / "two", packages).notes
    assert "two/usr/data: the pool's file was written to; it is restored from git" in note
    assert describe(tmp_path / "two") == expected
    [note] = composer.composed(tmp_path / "one", packages).notes
    assert "one was changed after it was composed" in note
    assert describe(tmp_path / "one") == expected
    assert composer.composed(tmp_path / "one", packages).notes == ()
    composer.assert_pool_intact()


def test_a_changed_sysroot_with_a_new_request_is_recomposed(
    composer: Composer, packages: list[Owned], tmp_path: Path
) -> None:
    composer.compose(tmp_path / "one", packages[:1])
    write(tmp_path / "one/usr/data")
    composer.compose(tmp_path / "two", packages)
    [note] = composer.composed(tmp_path / "one", packages).notes
    assert "composing it again" in note
    assert describe(tmp_path / "one") == describe(tmp_path / "two")


def test_a_boot_has_a_name() -> None:
    assert len(boot_id()) == 36


def test_after_a_reboot_every_file_is_verified_once(
    composer: Composer, packages: list[Owned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("whole", "harmed"):
        composer.compose(tmp_path / name, packages)
    expected = describe(tmp_path / "harmed")
    before = folders(tmp_path / "whole")
    write(tmp_path / "harmed/usr/empty")
    monkeypatch.setattr("prov.sysroot.compose.boot_id", lambda: "another boot")
    assert composer.composed(tmp_path / "whole", packages).notes == ()
    [note] = composer.composed(tmp_path / "harmed", packages).notes
    assert "composing it again" in note
    assert describe(tmp_path / "harmed") == expected
    assert folders(tmp_path / "whole") == before

    def never(*_: object) -> None:
        raise AssertionError("it was looked at again")

    monkeypatch.setattr("prov.sysroot.compose.differences", never)
    for name in ("whole", "harmed"):
        assert composer.composed(tmp_path / name, packages).notes == ()


def test_deleting_the_pool_changes_no_sysroot(
    composer: Composer, packages: list[Owned], tmp_path: Path
) -> None:
    composer.compose(tmp_path / "one", packages)
    expected = describe(tmp_path / "one")
    shutil.rmtree(composer.sysroots.pool.folder)
    assert composer.check(tmp_path / "one") == []
    composer.compose(tmp_path / "one", packages[:1])
    composer.compose(tmp_path / "one", packages)
    composer.compose(tmp_path / "two", packages)
    assert describe(tmp_path / "one") == describe(tmp_path / "two") == expected


def test_an_unknown_sysroot_has_no_differences(
    composer: Composer, packages: list[Owned], tmp_path: Path
) -> None:
    assert composer.check(tmp_path / "none") == []
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/file").touch()
    assert composer.check(tmp_path / "foreign") == []
    composer.compose(tmp_path / "gone", packages)
    shutil.rmtree(tmp_path / "gone")
    assert composer.check(tmp_path / "gone") == []
    composer.compose(tmp_path / "gone", packages)
    assert composer.check(tmp_path / "gone") == []
    assert (tmp_path / "gone/usr/q").read_text() == "q"


def test_a_copied_sysroot_is_intact(
    composer: Composer, packages: list[Owned], tmp_path: Path
) -> None:
    """Folders have new inodes and ctimes, as after a restored backup, but equal content."""
    composer.compose(tmp_path / "one", packages)
    expected = describe(tmp_path / "one")
    subprocess.run(["cp", "-a", tmp_path / "one", tmp_path / "copy"], check=True)
    shutil.rmtree(tmp_path / "one")
    (tmp_path / "copy").rename(tmp_path / "one")
    inode = (tmp_path / "one").stat().st_ino
    for _ in range(2):
        assert composer.composed(tmp_path / "one", packages).notes == ()
        assert (tmp_path / "one").stat().st_ino == inode
    assert describe(tmp_path / "one") == expected
