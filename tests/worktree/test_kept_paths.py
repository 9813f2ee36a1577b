"""Tests that a checkout keeps excluded paths: entries on disk that the recorded tree omits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prov.errors import CheckoutError
from prov.worktree.attributes import EMPTY, Pair
from prov.worktree.checkout import checkout
from prov.worktree.exclude import VERSION_CONTROL
from tests.trees import describe
from tests.worktree.conftest import Work

EXCLUDE = (*VERSION_CONTROL, "cache/")
DEPTH = 70
"""More folders than a checkout has open at once."""
DEEP = Path(*["d"] * DEPTH)


def populate(top: Path) -> None:
    """Create files, and excluded folders at the top, in a folder and far below."""
    for folder in (top, top / "src", top / "bin", top / DEEP):
        (folder / ".git" / "objects").mkdir(parents=True)
        (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
        (folder / "cache").mkdir()
        (folder / "cache" / "object").write_text("cached")
        (folder / "file").write_text("recorded")
        (folder / "empty").mkdir()
    (top / "src" / "locked").mkdir()
    (top / "src" / "locked" / "file").write_text("recorded")
    (top / "src" / "locked").chmod(0o500)
    os.link(top / "file", top / "src" / "link")


def excluded(top: Path) -> dict[Path, str]:
    """Return the content of the excluded files below a folder."""
    files = [path for path in top.rglob("*") if path.is_file()]
    return {
        path.relative_to(top): path.read_text()
        for path in files
        if not {".git", "cache"}.isdisjoint(path.parts)
    }


def change(work: Work, top: Path, target: Pair, now: Pair) -> list[bytes]:
    kept: list[bytes] = []
    checkout(work.store.objects, top, target, now=now, kept=kept)
    return sorted(kept)


def test_excluded_paths_survive_a_checkout_of_nothing_and_back(work: Work, tmp_path: Path) -> None:
    top = tmp_path / "top"
    populate(top)
    before, full = excluded(top), describe(top)
    pair = work.capture(top, exclude=EXCLUDE).pair
    assert change(work, top, EMPTY, pair) == [b"bin", b"d", b"src"]
    assert excluded(top) == before
    assert not list(top.rglob("file")) + list(top.rglob("locked")) + list(top.rglob("empty"))
    rest = work.capture(top, exclude=EXCLUDE).pair
    assert change(work, top, pair, rest) == []
    assert describe(top) == full
    assert excluded(top) == before


@pytest.mark.usefixtures("two_processors")
def test_a_second_process_reports_what_it_keeps(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prov.worktree.checkout.SHARE_FROM", 1)
    top = tmp_path / "top"
    for number in range(40):
        folder = top / str(number) / "bin" / "tools"
        (folder / ".git").mkdir(parents=True)
        (folder / "tool").write_text("recorded")
    pair = work.capture(top, exclude=EXCLUDE).pair
    for number in range(40):
        (top / str(number) / "bin" / "tools" / "tool").unlink()
    reduced = work.capture(top, exclude=(*EXCLUDE, "tools")).pair
    for number in range(40):
        (top / str(number) / "bin" / "tools" / "tool").write_text("recorded")
    assert len(change(work, top, reduced, pair)) == 40
    assert len(list(top.rglob(".git"))) == 40
    assert not list(top.rglob("tool"))


def test_nothing_is_written_over_excluded_paths(work: Work, tmp_path: Path) -> None:
    top, other = tmp_path / "top", tmp_path / "other"
    for folder in (top, other):
        folder.mkdir()
        (folder / "file").write_text("recorded")
    pair = work.capture(top, exclude=EXCLUDE).pair
    (top / "cache").mkdir()
    (top / "cache" / "object").write_text("cached")
    for kind in ("file", "link", "hardlink"):
        (other / "cache").unlink(missing_ok=True)
        if kind == "file":
            (other / "cache").write_text("file")
        elif kind == "link":
            (other / "cache").symlink_to("file")
        else:
            os.link(other / "file", other / "cache")
        target = work.capture(other).pair
        with pytest.raises(CheckoutError, match=r"cache.*not recorded") as caught:
            change(work, top, target, pair)
        assert caught.value.hint is not None
        assert (top / "cache" / "object").read_text() == "cached"


def test_a_file_is_not_placed_over_a_folder_with_excluded_paths(work: Work, tmp_path: Path) -> None:
    top, other = tmp_path / "top", tmp_path / "other"
    (top / "src" / ".git").mkdir(parents=True)
    (top / "src" / "file").write_text("recorded")
    other.mkdir()
    (other / "src").write_text("a file")
    pair, target = work.capture(top, exclude=EXCLUDE).pair, work.capture(other).pair
    with pytest.raises(CheckoutError, match=r"src.*not recorded"):
        change(work, top, target, pair)
    assert (top / "src" / ".git").is_dir()
