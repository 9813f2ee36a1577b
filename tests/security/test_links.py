"""Links planted at paths where prov writes or deletes, before or meanwhile, are not followed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prov.errors import ProvError
from prov.files import create_file, locked, remove_tree, replace_file, write_scratch
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY, Pair
from prov.worktree.checkout import checkout
from prov.worktree.snapshot import capture
from tests.cli.story import Project

ROUNDS = 40
SWAPPER = """
import ctypes, sys
exchange = ctypes.CDLL(None).renameat2
one, other = (path.encode() for path in sys.argv[1:])
while True:
    exchange(-100, one, -100, other, 2)
"""


@contextlib.contextmanager
def swapped(one: Path, other: Path) -> Iterator[None]:
    """Exchange two names continuously, as fast as possible, during the block."""
    child = subprocess.Popen([sys.executable, "-c", SWAPPER, str(one), str(other)])
    try:
        yield
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user with files that have the names of the recorded files."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}").write_text("mine\n")
    return folder


def untouched(outside: Path) -> bool:
    files = {path.name: path.read_text() for path in outside.iterdir()}
    return files == {f"{number}": "mine\n" for number in range(30)}


def recorded(store: Store, folder: Path, text: str, *, files: int = 30) -> Pair:
    (folder / "a").mkdir(parents=True)
    for number in range(files):
        (folder / "a" / f"{number}").write_text(f"{text} {number % 7}\n")
    os.link(folder / "a" / "0", folder / "a" / "link")
    with store.objects.writer() as writer:
        return capture(store, folder, writer).pair


def test_checkout_while_a_folder_is_exchanged_for_a_link(
    store: Store, outside: Path, tmp_path: Path
) -> None:
    one, other = (recorded(store, tmp_path / text, text) for text in ("one", "other"))
    there, swap = tmp_path / "there", tmp_path / "swap"
    done = 0
    for number in range(ROUNDS):
        for path in (there, swap):
            if os.path.lexists(path):
                remove_tree(path)
        checkout(store.objects, there, one)
        swap.symlink_to(outside)
        with swapped(there / "a", swap), contextlib.suppress(ProvError):
            checkout(store.objects, there, other if number % 2 else EMPTY, now=one)
            done += 1
        assert untouched(outside), f"round {number}"
    assert not (outside / "link").exists()


def test_removal_while_a_folder_is_exchanged_for_a_link(outside: Path, tmp_path: Path) -> None:
    for _ in range(ROUNDS):
        there, swap = tmp_path / "there", tmp_path / "swap"
        (there / "a").mkdir(parents=True)
        for number in range(30):
            (there / "a" / f"{number}").touch()
        swap.symlink_to(outside)
        with swapped(there / "a", swap), contextlib.suppress(OSError):
            remove_tree(there)
        for path in (there, swap):
            if os.path.lexists(path):
                remove_tree(path)
        assert untouched(outside)


@pytest.mark.parametrize("change", ["other", "fewer"])
def test_a_link_in_the_deploy_directory(change: str, small: Project, outside: Path) -> None:
    small.task(
        "mkdir -p out/top/sub; for n in 0 1 2; do echo one > out/top/sub/$n; done",
        more="deploy = true",
    )
    small.prov("build", "a:go")
    sub = next(path for path in (small.root / "build/deploy").rglob("sub"))
    remove_tree(sub)
    sub.symlink_to(outside)
    small.edit("recipes/a.toml", "0 1 2", "0 2" if change == "fewer" else "0 1 2 3")
    small.prov("build", "a:go")
    assert untouched(outside)
    assert not sub.is_symlink() and sorted(path.name for path in sub.iterdir())[:1] == ["0"]


def test_deploying_while_a_folder_is_exchanged_for_a_link(
    small: Project, outside: Path, tmp_path: Path
) -> None:
    small.task(
        "mkdir -p out/top/sub; for n in 0 1 2; do echo one > out/top/sub/$n; done",
        more="deploy = true",
    )
    small.prov("build", "a:go")
    sub = next(path for path in (small.root / "build/deploy").rglob("sub"))
    for number in range(6):
        swap = tmp_path / f"swap{number}"
        swap.symlink_to(outside)
        small.write(
            "recipes/a.toml", (small.root / "recipes/a.toml").read_text().replace("echo ", "echo x")
        )
        with swapped(sub, swap):
            small.prov("build", "a:go", code=None)
        assert untouched(outside)


def test_files_are_made_without_following_a_link_in_their_place(
    outside: Path, tmp_path: Path
) -> None:
    victim = outside / "0"
    writers: tuple[Callable[[Path], object], ...] = (
        lambda path: write_scratch(path, "x"),
        lambda path: replace_file(path, b"x"),
    )
    for write in writers:
        path = tmp_path / "file"
        path.unlink(missing_ok=True)
        path.symlink_to(victim)
        write(path)
        assert path.read_text() == "x" and not path.is_symlink()
    path = tmp_path / "other"
    path.symlink_to(victim)
    os.close(create_file(path))
    path = tmp_path / "lock"
    path.symlink_to(outside / "new")
    with pytest.raises(OSError, match="symbolic links"), locked(path):
        pass
    assert untouched(outside)


def test_the_kernel_exchanges_names(tmp_path: Path) -> None:
    """The attacks above depend on this."""
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    names = (os.fsencode(tmp_path / name) for name in "ab")
    assert ctypes.CDLL(None).renameat2(-100, next(names), -100, next(names), 2) == 0
    assert (tmp_path / "a").read_text() == "b"
