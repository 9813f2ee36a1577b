"""Packages with different content at one path, and `wins`, which selects the owner."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.errors import SysrootConflict
from tests.sysroot.conftest import Composer, File, Folder, Link, Spec, fingerprint
from tests.trees import describe

KINDS: list[tuple[str, Spec, Spec, str]] = [
    ("content", {"usr/f": "x"}, {"usr/f": "y"}, "usr/f"),
    ("mode", {"usr/f": File(b"x")}, {"usr/f": File(b"x", 0o755)}, "usr/f"),
    ("setuid", {"usr/f": File(b"x", 0o755)}, {"usr/f": File(b"x", 0o4755)}, "usr/f"),
    ("link and file", {"usr/f": "x"}, {"usr/f": Link(b"x")}, "usr/f"),
    ("links", {"usr/f": Link(b"y")}, {"usr/f": Link(b"x")}, "usr/f"),
    ("file and folder", {"usr/f": "x"}, {"usr/f/g": "x"}, "usr/f"),
    ("file and empty folder", {"usr/f": "x"}, {"usr/f": Folder()}, "usr/f"),
    ("folders' modes", {"usr/d": Folder(0o700)}, {"usr/d/f": "x"}, "usr/d"),
    ("places", {"usr/f": File(b"x", fixme=b"text:S")}, {"usr/f": File(b"x")}, "usr/f"),
]


@pytest.mark.parametrize(
    ("first", "second", "path"), [row[1:] for row in KINDS], ids=[row[0] for row in KINDS]
)
def test_a_conflict_is_an_error_before_any_change(
    composer: Composer, tmp_path: Path, first: Spec, second: Spec, path: str
) -> None:
    there = composer.owned("there:install", {"usr/there": "x"})
    zlib, bzip2 = composer.owned("zlib:install", first), composer.owned("bzip2:install", second)
    composer.compose(tmp_path / "sysroot", [there, zlib])
    watched = (tmp_path / "sysroot", composer.sysroots.states, composer.sysroots.pool.folder)
    before = [fingerprint(folder) for folder in watched]
    for packages in ([there, zlib, bzip2], [bzip2, zlib]):
        with pytest.raises(SysrootConflict) as raised:
            composer.compose(tmp_path / "sysroot", packages)
        for word in (path, "zlib:install", "bzip2:install"):
            assert word in str(raised.value)
        assert path in raised.value.hint
    assert [fingerprint(folder) for folder in watched] == before
    assert composer.check(tmp_path / "sysroot") == []


def test_further_conflicts_are_counted(composer: Composer, tmp_path: Path) -> None:
    packages = [
        composer.owned(name, {"a": name, "d/b": name, "c": name}) for name in ("one", "two")
    ]
    with pytest.raises(SysrootConflict, match=r"different content \(and 2 more\)"):
        composer.compose(tmp_path / "sysroot", packages)


CLAIMS: dict[str, Spec] = {
    "gcc:install": {"usr/bin/cc": "gcc", "usr/bin/ld": "gcc", "usr/lib/g": "gcc"},
    "llvm:install": {"usr/bin/cc": "llvm", "usr/bin/ld": "llvm", "usr/lib/l": "llvm"},
    "tcc:install": {"usr/bin/cc": "tcc"},
    "other:install": {"usr/lib/o": "other"},
}
WINS: list[tuple[str, dict[bytes, str], str]] = [
    ("files", {b"usr/bin/cc": "gcc", b"usr/bin/ld": "llvm"}, "gcc llvm"),
    ("tasks", {b"usr/bin/cc": "tcc:install", b"usr/bin/ld": "llvm:install"}, "tcc llvm"),
    ("a folder", {b"usr/bin": "gcc"}, "gcc gcc"),
    ("a folder above", {b"usr": "llvm"}, "llvm llvm"),
    ("a file in a folder", {b"usr/bin/cc": "tcc", b"usr": "llvm"}, "tcc llvm"),
    ("a folder in a folder", {b"usr/bin": "gcc", b"usr": "llvm"}, "gcc gcc"),
    (
        "one that is not there, in one that is",
        {b"usr/bin/cc": "other", b"usr/bin": "gcc"},
        "gcc gcc",
    ),
    ("one that has only one of two", {b"usr/bin": "tcc", b"usr": "gcc"}, "tcc gcc"),
]


@pytest.mark.parametrize(
    ("wins", "expected"), [row[1:] for row in WINS], ids=[row[0] for row in WINS]
)
def test_the_named_package_wins_only_the_conflicts(
    composer: Composer, tmp_path: Path, wins: dict[bytes, str], expected: str
) -> None:
    packages = [composer.owned(owner, spec) for owner, spec in CLAIMS.items()]
    composer.compose(tmp_path / "sysroot", packages, wins=wins)
    got = {name: (tmp_path / "sysroot/usr" / name).read_text() for name in ("bin/cc", "bin/ld")}
    assert " ".join(got.values()) == expected
    assert sorted(path.name for path in (tmp_path / "sysroot/usr/lib").iterdir()) == ["g", "l", "o"]
    composer.compose(tmp_path / "backwards", packages[::-1], wins=wins)
    assert describe(tmp_path / "backwards") == describe(tmp_path / "sysroot")


HELPLESS: list[tuple[str, dict[bytes, str]]] = [
    ("no winner", {}),
    ("no claimant", {b"usr/bin/cc": "other", b"usr/bin/ld": "other"}),
    ("unknown", {b"usr/bin": "gc", b"usr": "gcc:"}),
    ("another path", {b"usr/lib": "gcc", b"usr/bin/c": "gcc", b"bin": "gcc"}),
    ("another task", {b"usr/bin": "gcc:populate_sysroot"}),
    ("one of two", {b"usr/bin/cc": "gcc"}),
    ("a claimant to one of two", {b"usr/bin": "tcc"}),
]


@pytest.mark.parametrize("wins", [row[1] for row in HELPLESS], ids=[row[0] for row in HELPLESS])
def test_a_winner_without_the_path_does_not_resolve_it(
    composer: Composer, tmp_path: Path, wins: dict[bytes, str]
) -> None:
    packages = [composer.owned(owner, spec) for owner, spec in CLAIMS.items()]
    with pytest.raises(SysrootConflict, match=r"usr/bin/(cc|ld): "):
        composer.compose(tmp_path / "sysroot", packages, wins=wins)
    assert not (tmp_path / "sysroot").exists()


def test_a_winner_decides_between_file_and_folder(composer: Composer, tmp_path: Path) -> None:
    packages = [
        composer.owned("file", {"usr/f": "x"}),
        composer.owned("folder", {"usr/f/g": "x", "usr/h": "y"}),
    ]
    for owner, expected in (
        ("file", {b"f", b"h"}),
        ("folder", {b"f", b"f/g", b"h"}),
        ("file", {b"f", b"h"}),
    ):
        composer.compose(tmp_path / "sysroot", packages, wins={b"usr/f": owner})
        assert set(describe(tmp_path / "sysroot/usr")) - {b""} == expected


def test_a_different_winner_changes_the_sysroot(composer: Composer, tmp_path: Path) -> None:
    packages = [
        composer.owned(owner, {"usr/f": owner, "usr/g": "same"}) for owner in ("one", "two")
    ]
    for owner in ("one", "two", "one"):
        composer.compose(tmp_path / "sysroot", packages, wins={b"usr": owner})
        assert (tmp_path / "sysroot/usr/f").read_text() == owner
    with pytest.raises(SysrootConflict):
        composer.compose(tmp_path / "sysroot", packages)
    composer.compose(tmp_path / "sysroot", packages[1:])
    assert (tmp_path / "sysroot/usr/f").read_text() == "two"


def test_the_loser_returns_when_the_winner_is_removed(composer: Composer, tmp_path: Path) -> None:
    packages = [composer.owned(owner, {"usr/f": owner}) for owner in ("one", "two", "three")]
    wins = {b"usr/f": "one"}
    with pytest.raises(SysrootConflict):
        composer.compose(tmp_path / "sysroot", packages[1:], wins=wins)
    for chosen, expected in ((packages, "one"), (packages[1:2], "two"), (packages[::2], "one")):
        composer.compose(tmp_path / "sysroot", chosen, wins=wins)
        assert (tmp_path / "sysroot/usr/f").read_text() == expected
