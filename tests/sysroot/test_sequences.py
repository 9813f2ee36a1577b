"""A composed sysroot equals a fresh one, whatever the directory was before."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prov.errors import SysrootConflict
from prov.worktree import checkout as checkouts
from prov.worktree.merge import Owned
from tests.sysroot.conftest import Composer, File, Folder, Link, Spec
from tests.trees import AS_ROOT, describe, everything

OWNERS = 6
VARIANTS: dict[str, list[File | Link | Folder]] = {
    "usr/lib/a": [
        File(b"a", group="a"),
        File(b"a, rebuilt", group="a"),
        File(b"a", 0o755, group="a"),
        File(b""),
    ],
    "usr/lib/alias": [File(b"a", group="a"), File(b"a, rebuilt", group="a"), Link(b"a")],
    "usr/bin/second-name": [File(b"a", group="a"), File(b"a")],
    "usr/bin/su": [
        File(b"su", 0o4755),
        File(b"su", 0o755),
        File(b"su, rebuilt", 0o6711),
        File(b"su", 0o1644),
    ],
    "usr/bin/sh": [Link(b"bash"), Link(b"dash"), File(b"sh", 0o755)],
    "usr/libexec/empty": [Folder(), Folder(0o700)],
    "usr/bin/deep/er/f": [File(b"a"), File(b"b", 0o755)],
    "usr/libexec/deep/f": [File(b"a"), Folder(0o500)],
    "usr/share/odd": [
        Folder(),
        Folder(0o2775),
        Folder(0o555),
        Folder(0o1777),
        Folder(0o000 if AS_ROOT else 0o500),
    ],
    "usr/share/odd/f": [File(b"f"), File(b"f, rebuilt", 0o600)],
    "usr/share/odd/deep/er": [Folder(), File(b"er"), Link(b"f")],
    "shift": [File(b"a file"), Link(b"usr"), Folder(0o711)],
    "shift/inside": [File(b"a")],
    "sbin/.git/config": [File(b"a"), File(b"b")],
    "%x a\ny\\": [File(b"a"), File(b"a", 0o444)],
    "large": [File(bytes(200_000) + b"x"), File(b"x" + bytes(200_000))],
}
COMMON: Spec = {
    "usr/share/common": File(b"the same in all"),
    "usr/lib": Folder(),
    "usr/share/none": Folder(),
}


@dataclass
class World:
    """The packages of some recipes at a time, which of them are requested, and which win."""

    gives: list[dict[str, int]] = field(default_factory=lambda: [{} for _ in range(OWNERS)])
    wanted: set[int] = field(default_factory=lambda: set(range(OWNERS)))
    wins: dict[bytes, str] = field(default_factory=dict)
    backwards: bool = False

    def spec(self, owner: int) -> Spec:
        gives = {
            path: VARIANTS[path][number % len(VARIANTS[path])]
            for path, number in self.gives[owner].items()
        }
        solid = {path for path, leaf in gives.items() if not isinstance(leaf, Folder)}
        passable = {
            path: leaf
            for path, leaf in gives.items()
            if not any(path.startswith(top + "/") for top in solid)
        }
        own = {
            f"usr/lib/l{owner}": str(owner),
            f"usr/bin/tool{owner % 2}{owner}": "#!",
            f"only{owner}/deep/f": "x",
        }
        return {**COMMON, **own, **passable}

    def packages(self, composer: Composer) -> list[Owned]:
        made = [
            composer.owned(f"p{owner}:populate_sysroot", self.spec(owner))
            for owner in sorted(self.wanted)
        ]
        return made[::-1] if self.backwards else made


Change = Callable[[World], None]
paths = st.sampled_from(sorted(VARIANTS))
owners = st.integers(0, OWNERS - 1)
variants = st.integers(0, 4)


def put(path: str, variant: int, owners: set[int]) -> Change:
    """Put a path into exactly these packages, with the same content.

    This adds, rebuilds, moves or, without packages, deletes it.
    """

    def change(world: World) -> None:
        for owner, gives in enumerate(world.gives):
            gives.pop(path, None)
            if owner in owners:
                gives[path] = variant

    return change


def deviate(path: str, variant: int, owner: int) -> Change:
    return lambda world: world.gives[owner].update({path: variant})


def want(owners: set[int]) -> Change:
    return lambda world: world.wanted.symmetric_difference_update(owners)


def turn(backwards: bool) -> Change:
    return lambda world: setattr(world, "backwards", backwards)


def win(path: str, above: int, owner: int, task: bool) -> Change:
    """Let a package win at a path, or below the folder a number of levels above it."""
    at = "/".join(path.split("/")[: -above or None]) or path
    return lambda world: world.wins.update(
        {at.encode(): f"p{owner}:populate_sysroot" if task else f"p{owner}"}
    )


changes = st.one_of(
    st.builds(put, paths, variants, st.sets(owners, max_size=3)),
    st.builds(put, paths, variants, st.sets(owners, min_size=1, max_size=2)),
    st.builds(want, st.sets(owners, min_size=1, max_size=2)),
    st.builds(win, paths, st.integers(0, 2), owners, st.booleans()),
    st.builds(turn, st.booleans()),
    st.just(lambda world: world.wins.clear()),
)
quarrels = st.builds(lambda *all_: all_, st.builds(deviate, paths, variants, owners), changes)


def compose(composer: Composer, directory: Path, world: World) -> object:
    """Return the tree of a sysroot, or a marker for a conflict."""
    try:
        return composer.composed(directory, world.packages(composer), wins=dict(world.wins))
    except SysrootConflict as error:
        return type(error)


def assert_each_equals_a_fresh_one(
    composer: Composer, here: Path, chain: list[list[Change]]
) -> None:
    world, last = World(), None
    for number, step in enumerate(chain):
        for change in step:
            change(world)
        composed, fresh = (
            compose(composer, here / name, world) for name in ("delta", f"fresh{number}")
        )
        assert composed == fresh
        if fresh is SysrootConflict:
            assert not (here / f"fresh{number}").exists()
        else:
            last = here / f"fresh{number}"
        if last is not None:
            assert describe(here / "delta") == describe(last)
            known = {
                os.fsencode(here / "delta") + b"/" + path
                for path in composer.state(here / "delta").folders
            }
            assert known == set(everything(os.fsencode(here / "delta"))[0][1:])
            assert composer.check(here / "delta") == []
    composer.assert_pool_intact()


counter = itertools.count()


@pytest.fixture(params=[checkouts.SHARE_FROM, 2], ids=["one process", "two processes"])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkouts, "SHARE_FROM", request.param)
    monkeypatch.setattr(checkouts, "CROWD", request.param)


@pytest.mark.usefixtures("processes")
def test_after_any_steps_a_sysroot_equals_a_fresh_one(composer: Composer, tmp_path: Path) -> None:
    @settings(max_examples=40)
    @given(chain=st.lists(st.lists(changes, min_size=1, max_size=5), min_size=2, max_size=6))
    def check(chain: list[list[Change]]) -> None:
        assert_each_equals_a_fresh_one(composer, tmp_path / str(next(counter)), chain)

    check()


def test_after_any_steps_with_conflicts_and_winners_a_sysroot_equals_a_fresh_one(
    composer: Composer, tmp_path: Path
) -> None:
    @settings(max_examples=50)
    @given(chain=st.lists(st.lists(quarrels, min_size=1, max_size=2), min_size=2, max_size=6))
    def check(chain: list[list[tuple[Change, Change]]]) -> None:
        flat = [[change for both in step for change in both] for step in chain]
        assert_each_equals_a_fresh_one(composer, tmp_path / str(next(counter)), flat)

    check()
