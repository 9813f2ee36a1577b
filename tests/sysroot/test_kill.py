"""A composition killed at any point is completed by the next one."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prov.errors import ProvError
from prov.store.repository import Store
from prov.sysroot.postinst import ScriptRunner
from prov.worktree import checkout as checkouts
from prov.worktree.merge import Owned
from prov.worktree.pool import Pool
from tests.sysroot.conftest import Composer, File, Folder, Link, in_child
from tests.trees import describe

pytestmark = pytest.mark.process

INDEX = (
    "#!/bin/sh\nls usr/lib > usr/index; echo more >> usr/share/common; rm -f usr/lib/l1; mkdir -p"
    " var/new\n"
)
counter = itertools.count()


@pytest.fixture
def packages(composer: Composer) -> list[Owned]:
    made = []
    for number in range(6):
        spec: dict[str, File | Link | Folder | str] = {
            f"usr/lib/l{number}": str(number),
            f"usr/lib/of{number}/a": File(b"a", 0o4755, group="a"),
            f"usr/lib/of{number}/b": File(b"a", 0o4755, group="a"),
            f"usr/bin/tool{number}": "#!",
            f"usr/share/closed{number}": Folder(0o555),
            f"usr/share/closed{number}/f": "x",
            f"only{number}/deep/f": File(bytes([number]) * 3000),
            f"only{number}/link": Link(b"deep/f"),
            "usr/share/common": "same",
        }
        made.append(composer.owned(f"p{number}", spec))
    made.append(
        composer.owned("index", {"usr/bin/postinst-index": INDEX, "usr/share/common": "same"})
    )
    return made


sets = st.sets(st.integers(0, 6), min_size=1)


def assert_equals_a_fresh_one(
    composer: Composer, here: Path, wanted: list[Owned], run: ScriptRunner
) -> None:
    pair = composer.compose(here / "sysroot", wanted, run=run)
    assert pair == composer.compose(here / "fresh", wanted, run=run)
    assert describe(here / "sysroot") == describe(here / "fresh")
    composer.assert_pool_intact()


@pytest.mark.parametrize("share_from", [128, 2], ids=["one process", "two processes"])
def test_killed_before_any_change_of_the_disk_it_is_made_good_by_the_next(
    composer: Composer,
    packages: list[Owned],
    run: ScriptRunner,
    tmp_path: Path,
    is_clean: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    share_from: int,
) -> None:
    monkeypatch.setattr(checkouts, "SHARE_FROM", share_from)
    monkeypatch.setattr(checkouts, "CROWD", share_from)
    killed = []

    @settings(max_examples=40)
    @given(first=sets | st.none(), second=sets, third=sets | st.none(), steps=st.integers(0, 150))
    def check(first: set[int] | None, second: set[int], third: set[int] | None, steps: int) -> None:
        here = tmp_path / str(next(counter))
        chosen = {
            name: [packages[number] for number in sorted(numbers or second)]
            for name, numbers in (("first", first), ("second", second), ("third", third))
        }
        if first is not None:
            composer.compose(here / "sysroot", chosen["first"], run=run)
        status = in_child(
            composer,
            lambda own: own.compose(here / "sysroot", chosen["second"], run=run),
            dies_before=steps,
        )
        killed.append(status != 0)
        assert_equals_a_fresh_one(composer, here, chosen["third"], run)
        is_clean()

    check()
    assert any(killed)


def test_killed_at_any_time_again_and_again_it_is_made_good_in_the_end(
    composer: Composer,
    packages: list[Owned],
    run: ScriptRunner,
    tmp_path: Path,
    is_clean: Callable[[], None],
) -> None:
    chance = random.Random(7)
    for _ in range(25):
        wanted = [package for package in packages[:6] if chance.random() < 0.7]
        pid = os.fork()
        if pid == 0:
            try:
                Composer(Store.open(composer.store.path)).compose(tmp_path / "sysroot", wanted)
            finally:
                os._exit(0)
        time.sleep(chance.random() * 0.02)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert_equals_a_fresh_one(composer, tmp_path, packages, run)
    is_clean()


def test_a_surviving_second_process_does_not_write_to_the_next(
    composer: Composer, run: ScriptRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, visit = os.getpid(), checkouts._Checkout.visit
    packages = [
        composer.owned("full", {f"only{number}/f": "x" for number in range(6)}),
        composer.owned("empty", {f"only{number}": Folder() for number in range(6)}),
    ]

    def slowly(self: Any, folder: Any) -> None:
        if not self.queues:  # work shared by two processes
            if os.getppid() == parent:
                time.sleep(0.05)
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.15)
        visit(self, folder)

    def doomed(own: Composer) -> None:
        monkeypatch.setattr(checkouts, "SHARE_FROM", 2)
        monkeypatch.setattr(checkouts._Checkout, "visit", slowly)
        own.compose(tmp_path / "sysroot", packages[:1])

    assert os.WTERMSIG(in_child(composer, doomed)) == signal.SIGKILL
    assert_equals_a_fresh_one(composer, tmp_path, packages[1:], run)
    time.sleep(0.5)
    assert describe(tmp_path / "sysroot") == describe(tmp_path / "fresh")


def test_a_killed_second_process_fails_only_this_composition(
    composer: Composer,
    packages: list[Owned],
    run: ScriptRunner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    placed, first = Pool.place, os.getpid()

    def dies(self: Pool, node: object, path: bytes, folder: int) -> None:
        if os.getpid() != first:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.001)
        placed(self, node, path, folder)  # type: ignore[arg-type]

    with (
        monkeypatch.context() as patch,
        pytest.raises(ProvError, match="placing files was killed by SIGKILL"),
    ):
        patch.setattr(checkouts, "SHARE_FROM", 2)
        patch.setattr(Pool, "place", dies)
        composer.compose(tmp_path / "sysroot", packages[:6])
    assert not composer.state(tmp_path / "sysroot").ready
    assert_equals_a_fresh_one(composer, tmp_path, packages[:6], run)


def test_a_partial_file_of_a_killed_process_is_never_linked(
    composer: Composer, tmp_path: Path, run: ScriptRunner
) -> None:
    package = composer.owned("p", {"usr/large": File(b"x" * 100_000), "usr/small": "s"})
    for steps in itertools.count():
        if (
            in_child(
                composer,
                lambda own: own.compose(tmp_path / "sysroot", [package]),
                dies_before=steps,
            )
            == 0
        ):
            break
        leftovers = list(composer.sysroots.pool.folder.glob("??/.*"))
        assert all(
            path.stat().st_nlink == 1 or path.stat().st_size in (1, 100_000) for path in leftovers
        )
    assert steps > 10
    assert_equals_a_fresh_one(composer, tmp_path, [package], run)


def test_killed_before_its_trees_are_in_git_it_is_known_as_such(
    composer: Composer, packages: list[Owned], run: ScriptRunner, tmp_path: Path
) -> None:
    def no_pack(own: Composer) -> None:
        writer = own.store.objects.writer()
        own.sysroots.compose(writer, tmp_path / "sysroot", packages, run=run)
        os.kill(os.getpid(), signal.SIGKILL)

    in_child(composer, no_pack)
    assert composer.state(tmp_path / "sysroot").ready
    (tmp_path / "sysroot/usr/lib/l2").unlink()
    assert composer.check(tmp_path / "sysroot") == []
    assert_equals_a_fresh_one(composer, tmp_path, packages, run)
    with composer.store.objects.writer() as writer:
        assert all(
            oid is None or writer.has(oid) for oid in composer.state(tmp_path / "sysroot").pair
        )
