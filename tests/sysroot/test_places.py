"""Files that contain build paths: each sysroot gets its own copy."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from prov.store.objects import MODE_EXECUTABLE, MODE_FILE
from prov.sysroot.postinst import ScriptRunner
from prov.worktree.attributes import EMPTY, FileNode
from prov.worktree.merge import Owned, edit
from prov.worktree.path_tokens import HELD, TokenPaths, tokenise
from tests.sysroot.conftest import Composer, fingerprint
from tests.trees import describe

LONG = b"/where/it/was/made" + b"/longer" * 20
MADE = TokenPaths(
    {
        b"W": LONG + b"/wd",
        b"S": LONG + b"/wd/recipe-sysroot",
        b"N": LONG + b"/wd/recipe-sysroot-native",
        b"H": LONG + b"/hosttools",
    }
)
CONTENT: dict[bytes, bytes] = {
    b"usr/bin/tool-config": b"#!/bin/sh\necho -L{S}/usr/lib -I{S}/usr/include\n",
    b"usr/lib/pkgconfig/tool.pc": b"prefix={S}/usr\nnative={N}\nmake={H}/make\n",
    b"usr/lib/tool/prog": b"\x7fELF\0{N}/usr/bin/m4\0{W}\0rest",
    b"usr/lib/tool/cache.pyc": b"\0not ELF\0{W}/x.py\0",
    b"usr/share/plain": b"nothing\n",
}
MODES = {b"usr/bin/tool-config": MODE_EXECUTABLE, b"usr/lib/tool/prog": 0o104755}


def filled(places: TokenPaths, text: bytes) -> bytes:
    for letter, path in places.paths.items():
        text = text.replace(b"{%s}" % letter, path)
    return text


def places_of(directory: Path) -> TokenPaths:
    here = os.fsencode(directory)
    return TokenPaths({b"W": here + b"/w", b"S": here, b"N": here + b"/native", b"H": b"/tools"})


def as_string(text: bytes, places: TokenPaths, made: bytes) -> bytes:
    """Return the expected C strings of a binary, padded with NULs to their original lengths."""
    pairs = zip(text.split(b"\0"), made.split(b"\0"), strict=True)
    return b"\0".join(
        filled(places, each).ljust(len(filled(MADE, old)), b"\0") for each, old in pairs
    )


@pytest.fixture
def package(composer: Composer) -> Owned:
    """A package whose files were built at MADE."""
    edits = {}
    with composer.store.objects.writer() as writer:
        for path, text in CONTENT.items():
            stored = tokenise(filled(MADE, text), MADE)
            data, fixme = stored or (filled(MADE, text), b"")
            assert bool(fixme) == (path != b"usr/share/plain")
            edits[path] = FileNode(
                MODES.get(path, MODE_FILE), writer.add("blob", data), fixme=fixme
            )
        return Owned("tool", edit(writer, EMPTY, edits))


def assert_relocated(directory: Path, places: TokenPaths) -> None:
    for path, text in CONTENT.items():
        if path.endswith(b".pyc"):
            expected = filled(MADE, text)
        elif text.startswith(b"\x7fELF"):
            expected = as_string(text, places, text)
        else:
            expected = filled(places, text)
        assert (directory / os.fsdecode(path)).read_bytes() == expected, path


def inode(path: Path) -> int:
    return path.stat().st_ino


MARKED = [os.fsdecode(path) for path in CONTENT if path != b"usr/share/plain"]


def test_each_sysroot_has_its_own_paths_in_files_of_its_own(
    composer: Composer, package: Owned, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "another"
    for directory in (one, two):
        composer.compose(directory, [package], places=places_of(directory))
        assert_relocated(directory, places_of(directory))
        assert composer.check(directory, places=places_of(directory)) == []
    for name in MARKED:
        assert (one / name).stat().st_nlink == 1
    assert inode(one / "usr/share/plain") == inode(two / "usr/share/plain")
    assert oct((one / "usr/lib/tool/prog").stat().st_mode) == oct(0o104755)
    composer.assert_pool_intact()


def test_with_the_same_paths_for_all_files_are_shared(
    composer: Composer, package: Owned, tmp_path: Path
) -> None:
    places = replace(places_of(Path("/build")), constant=True)
    for name in ("one", "two"):
        composer.compose(tmp_path / name, [package], places=places)
        assert_relocated(tmp_path / name, places)
    for name in [*MARKED, "usr/share/plain"]:
        assert inode(tmp_path / "one" / name) == inode(tmp_path / "two" / name)
    assert describe(tmp_path / "one") == describe(tmp_path / "two")


def test_one_pool_serves_several_constant_places(
    composer: Composer, package: Owned, tmp_path: Path
) -> None:
    known = {name: replace(places_of(Path(name)), constant=True) for name in ("/build", "/b")}
    for _ in range(2):
        for name, places in known.items():
            composer.compose(tmp_path / name[1:], [package], places=places)
            assert_relocated(tmp_path / name[1:], places)
    composer.assert_pool_intact()


def test_a_write_through_a_shared_relocated_file_is_found_and_repaired(
    composer: Composer, package: Owned, tmp_path: Path
) -> None:
    places = replace(places_of(Path("/build")), constant=True)
    composer.compose(tmp_path / "one", [package], places=places)
    with open(tmp_path / "one/usr/bin/tool-config", "a") as stream:
        stream.write("more")
    [found] = composer.check(tmp_path / "one", places=places)
    assert found.path == b"usr/bin/tool-config"
    for name in ("two", "one"):
        composer.compose(tmp_path / name, [package], places=places)
        assert_relocated(tmp_path / name, places)
    assert inode(tmp_path / "one/usr/bin/tool-config") == inode(
        tmp_path / "two/usr/bin/tool-config"
    )


def test_a_sysroot_for_other_paths_is_composed_again(
    composer: Composer, package: Owned, tmp_path: Path
) -> None:
    here = tmp_path / "sysroot"
    for places in (places_of(here), places_of(Path("/elsewhere")), places_of(here)):
        composer.compose(here, [package], places=places)
        assert_relocated(here, places)
    before = fingerprint(here)
    composer.compose(here, [package], places=places_of(here))
    assert fingerprint(here) == before


def test_without_places_tokens_stay(composer: Composer, package: Owned, tmp_path: Path) -> None:
    composer.compose(tmp_path / "sysroot", [package])
    assert b"@PROV:SYSROOT@/usr" in (tmp_path / "sysroot/usr/lib/pkgconfig/tool.pc").read_bytes()
    composer.assert_pool_intact()


def test_a_changed_file_among_others_is_relocated(
    composer: Composer, package: Owned, tmp_path: Path
) -> None:
    here = tmp_path / "sysroot"
    other = composer.owned("other", {"usr/lib/pkgconfig/other.pc": "x", "usr/bin/o": "o"})
    for packages in ([other], [other, package], [package]):
        pair = composer.compose(here, packages, places=places_of(here))
    assert pair == package.pair
    assert_relocated(here, places_of(here))


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("constant", [False, True])
def test_a_binary_too_small_for_a_path_is_reported(
    composer: Composer, package: Owned, tmp_path: Path, there: bool, constant: bool
) -> None:
    here, other = tmp_path / "sysroot", composer.owned("other", {"usr/f": "x"})
    if there:
        composer.compose(here, [other])
    far = TokenPaths({**places_of(here).paths, b"N": b"/" + b"x" * 300}, constant=constant)
    notes = composer.composed(here, [package], places=far).notes
    if not constant:
        [note] = notes
        assert f"{here}/usr/lib/tool/prog: has no space for the new paths" in note
    for path in (b"usr/bin/tool-config", b"usr/lib/pkgconfig/tool.pc"):
        assert (here / os.fsdecode(path)).read_bytes() == filled(far, CONTENT[path])
    program = CONTENT[b"usr/lib/tool/prog"]
    assert (here / "usr/lib/tool/prog").read_bytes() == as_string(
        program.replace(b"{N}", b"/nonexistent"), far, program
    )
    assert composer.check(here, places=far) == []
    composer.compose(here, [package, other], places=places_of(here))
    assert_relocated(here, places_of(here))


def test_a_script_sees_the_paths_and_may_change_such_a_file(
    composer: Composer, package: Owned, run: ScriptRunner, tmp_path: Path
) -> None:
    text = (
        "#!/bin/sh\ngrep prefix= usr/lib/pkgconfig/tool.pc > seen; echo more >>"
        " usr/lib/pkgconfig/tool.pc\n"
    )
    script = composer.owned("script", {"usr/bin/postinst-a": text})
    for name in ("one", "two"):
        here = tmp_path / name
        composer.compose(here, [package, script], places=places_of(here), run=run)
        assert (here / "seen").read_text() == f"prefix={here}/usr\n"
        expected = filled(places_of(here), CONTENT[b"usr/lib/pkgconfig/tool.pc"])
        assert (here / "usr/lib/pkgconfig/tool.pc").read_bytes() == expected + b"more\n"
        assert composer.check(here, places=places_of(here)) == []
        composer.compose(here, [package], places=places_of(here), run=run)
        assert_relocated(here, places_of(here))


def test_a_held_file_is_marked_and_placed_unchanged(
    composer: Composer, package: Owned, tmp_path: Path
) -> None:
    stored = tokenise(filled(MADE, CONTENT[b"usr/lib/tool/cache.pyc"]), MADE)
    assert stored is not None
    assert stored.fixme == HELD
    composer.compose(tmp_path / "sysroot", [package], places=places_of(tmp_path / "sysroot"))
    assert (tmp_path / "sysroot/usr/lib/tool/cache.pyc").read_bytes() == stored.data
