"""Rows of `prov capture` and `prov checkout` with the source of Linux: 79,000 files, 1.3 GB."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench.data import empty, linux_source, need, remove
from tests.bench.measure import Command
from tests.bench.rows import PROV, Row

SECOND = 1.0
"""A capture reads files again that changed within a clock tick before it."""


def tree_rows(data: Path) -> Sequence[Row]:
    need("zstd", "zstd")
    source, scratch = linux_source(data), empty(data / "trees")
    return [*_first(source, scratch), *_again(source, scratch), _checkout(source, scratch)]


def _capture(source: Path, store: Path, prepare: Callable[[], object]) -> Command:
    words = (PROV, "--store", store, "capture", source, "--as", "linux:source")
    return Command("prov capture", words, prepare=lambda: (prepare(), None)[1])


def _git(git_dir: Path, source: Path, *words: str) -> list[str]:
    return ["git", f"--git-dir={git_dir}", f"--work-tree={source}", *words]


def _init(git_dir: Path) -> None:
    remove(git_dir)
    subprocess.run(["git", "init", "-q", "--bare", git_dir], check=True)


def _add(git_dir: Path, source: Path, *settings: str) -> list[str]:
    options = [word for setting in settings for word in ("-c", setting)]
    return _git(git_dir, source, *options, "add", "-A", "--force")


def _first(source: Path, scratch: Path) -> list[Row]:
    store, archive, git_dir = scratch / "first", scratch / "linux.tar.zst", scratch / "first.git"

    def archived(level: int) -> Command:
        text = f"tar -C {source} -c . | zstd -q -{level} -T2 -f -o {archive}"
        return Command(f"tar | zstd -{level} -T2", ("sh", "-c", text))

    def added(name: str, *settings: str) -> Command:
        words = _add(git_dir, source, *settings)
        return Command(name, words, cwd=source, prepare=lambda: _init(git_dir))

    return [
        Row(
            "tree: capture of Linux, first",
            _capture(source, store, lambda: remove(store)),
            (archived(3), archived(8)),
            at_most=1.0,
        ),
        Row(
            "tree: capture of Linux, first, and git",
            _capture(source, store, lambda: remove(store)),
            (
                added("git add into one pack", "core.bigFileThreshold=1"),
                added("git add, loose objects"),
            ),
            at_most=0.2,
            rounds=1,
        ),
    ]


def _again(source: Path, scratch: Path) -> list[Row]:
    store, git_dir = scratch / "store", scratch / "store.git"
    subprocess.run(
        [PROV, "--store", store, "capture", source, "--as", "linux:source"],
        check=True,
        capture_output=True,
    )
    _init(git_dir)
    subprocess.run(_add(git_dir, source, "core.bigFileThreshold=1"), cwd=source, check=True)
    git = Command("git add", _add(git_dir, source), cwd=source)
    count = itertools.count()

    def change() -> None:
        (source / "changed.txt").write_text(f"{next(count)}\n")
        time.sleep(SECOND)

    changed = Command("git add", _add(git_dir, source), cwd=source, prepare=change)
    return [
        Row(
            "tree: capture of Linux, nothing changed",
            _capture(source, store, lambda: time.sleep(SECOND)),
            (git,),
            seconds=0.3,
        ),
        Row(
            "tree: capture of Linux, one file changed",
            _capture(source, store, change),
            (changed,),
            seconds=0.3,
        ),
    ]


def _checkout(source: Path, scratch: Path) -> Row:
    store, git_dir, out = scratch / "store", scratch / "store.git", scratch / "out"
    tree = "linux:source"

    def by_git(name: str, workers: int) -> Command:
        script = (
            f"git --git-dir={git_dir} --work-tree={out} -c checkout.workers={workers}"
            " checkout-index -a -f"
        )
        return Command(name, ("sh", "-c", script), prepare=lambda: _ready(out))

    copy = Command("cp -a", ("cp", "-a", source, out), prepare=lambda: remove(out))
    return Row(
        "tree: checkout of Linux",
        Command(
            "prov checkout",
            (PROV, "--store", store, "checkout", tree, out),
            prepare=lambda: remove(out),
        ),
        (copy, by_git("git checkout-index, 2 workers", 2), by_git("git checkout-index", 1)),
        at_most=1.0,
        rounds=3,
    )


def _ready(out: Path) -> None:
    empty(out)
