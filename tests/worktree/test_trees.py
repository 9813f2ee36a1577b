from __future__ import annotations

import os
import time
from pathlib import Path

from hypothesis import given, settings

from prov.worktree import snapshot
from prov.worktree.attributes import Pair, read_listing
from tests.trees import Step, carry_out, steps
from tests.worktree.conftest import Work
from tests.worktree.test_checkout import open_folder, scratch

__all__ = ["open_folder"]  # a fixture
from tests.worktree.conftest import SETTLED


def test_a_renamed_folder_changes_its_hardlink_group(work: Work, top: Path, memory: Path) -> None:
    for name in "abc":
        (top / name).mkdir()
    (top / "a" / "f").write_text("x")
    for name in "bc":
        os.link(top / "a" / "f", top / name / "f")
    time.sleep(SETTLED)
    work.capture(top, memory=memory)
    (top / "a").rename(top / "z")  # does not change the stats of b and c
    assert work.capture(top, memory=memory).pair == work.capture(top).pair


def test_a_hardlink_group_survives_a_new_device_number(work: Work, top: Path, memory: Path) -> None:
    for name in "ab":
        (top / name).mkdir()
        (top / name / "own").write_text(name)
    (top / "a" / "f").write_text("x")
    os.link(top / "a" / "f", top / "b" / "f")
    time.sleep(SETTLED)
    with work.store.objects.writer() as writer:
        found = snapshot.capture(work.store, top, writer)
    for path, folder in found.folders.items():
        links = [(1, inode, name) for _, inode, name in folder.links]
        state = folder.decode()._replace(links=links)
        found.folders[path] = folder._replace(state=state.encode(), links=links)
    snapshot.remember(found, memory)
    (top / "a" / "new").write_text("only this folder changes")
    again = work.capture(top, memory=memory)
    assert (again.pair, again.read) == (work.capture(top).pair, 1)


@settings(max_examples=30)
@given(made=steps(changes=False, max_size=20))
def test_an_outputs_id_does_not_depend_on_place_or_time(
    work: Work, tmp_path: Path, made: list[Step]
) -> None:
    with scratch(tmp_path) as here:
        carry_out(here / "a" / "image", [step._replace(mtime=0) for step in made])
        carry_out(here / "elsewhere" / "image", made)
        (here / "a" / "other").write_text("x")
        assert work.output(here / "a", b"image") == work.output(here / "elsewhere", b"image")


def test_an_outputs_groups_are_those_inside_it(work: Work, tmp_path: Path) -> None:
    for name in ("alone/f", "beside/f", "both/f"):
        (tmp_path / "a" / name).parent.mkdir(parents=True)
    (tmp_path / "a" / "alone" / "f").write_text("x")
    os.link(tmp_path / "a" / "alone" / "f", tmp_path / "a" / "beside" / "f")
    (tmp_path / "a" / "both" / "f").write_text("x")
    os.link(tmp_path / "a" / "both" / "f", tmp_path / "a" / "both" / "g")

    def links(path: bytes) -> list[bytes]:
        pair: Pair = work.output(tmp_path / "a", path)
        return [
            node.link
            for name, node in sorted(read_listing(work.store.objects, pair).items())
            if name != b"."
        ]

    assert links(b"alone") == [b""]
    assert links(b"both") == [b"both/f", b"both/f"]
