from __future__ import annotations

from pathlib import Path

import pytest

from prov.errors import CaptureError
from prov.worktree.exclude import Exclude, escaped, inside

# patterns, path, whether it is a folder, whether it is excluded
MATCHES = [
    (("/temp/",), b"temp", True, True),
    (("/temp/",), b"temp", False, False),
    (("/temp/",), b"a/temp", True, False),
    ((".git",), b"a/b/.git", False, True),
    ((".git",), b"a/.gitignore", False, False),
    (("*.o",), b"a/b.o", False, True),
    (("*.o", "!keep.o"), b"keep.o", False, False),
    (("*.o", "!keep.o"), b"other.o", False, True),
    ((".git", "!.git"), b".git", True, False),
    (("out/**",), b"out", True, False),
    (("out/**",), b"out/a", False, True),
    ((), b"anything", False, False),
]


@pytest.mark.parametrize(("patterns", "path", "directory", "excluded"), MATCHES)
def test_patterns(patterns: tuple[str, ...], path: bytes, directory: bool, excluded: bool) -> None:
    exclude = Exclude(patterns)
    assert exclude(path, directory=directory) == excluded
    if excluded:
        folder, _, name = path.rpartition(b"/")
        assert exclude.may_match(folder, [b"other", name])


def test_an_excluded_path_can_be_any_entry() -> None:
    exclude = Exclude((), paths=[b"a/b/"])
    assert exclude(b"a/b", directory=False)
    assert exclude.may_match(b"a", [b"b"])
    assert not exclude.may_match(b"", [b"b"])


def test_most_folders_need_no_check() -> None:
    exclude = Exclude([".git", "/build/"])
    assert not exclude.may_match(b"a", [b"build", b"c.git", b"d"])
    assert exclude.may_match(b"a", [b".git"])
    assert exclude.may_match(b"", [b"build"])


def test_an_invalid_pattern_is_an_error() -> None:
    with pytest.raises(CaptureError, match="invalid"):
        Exclude(("[z-a]",))


def test_patterns_for_folders_inside_one(tmp_path: Path) -> None:
    names = ["a b", "[x]", "!y", "#z"]
    for name in names:
        (tmp_path / name).mkdir()
    patterns = inside(tmp_path, *(tmp_path / name for name in names), tmp_path, tmp_path.parent)
    exclude = Exclude(patterns)
    assert len(patterns) == len(names)
    assert all(exclude(name.encode(), directory=True) for name in names)


def test_an_escaped_path_matches_itself_alone() -> None:
    exclude = Exclude((escaped(Path("a*b")),))
    assert exclude(b"a*b", directory=False)
    assert not exclude(b"axb", directory=False)
