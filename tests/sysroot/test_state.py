"""State files of sysroots: written states are read back, damaged ones are not ready."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.store.objects import EMPTY_TREE
from prov.sysroot.state import SysrootState, path_digest, place_of, request_digest
from prov.worktree.attributes import EMPTY, Pair
from prov.worktree.merge import Owned

ONE, OTHER = Pair(b"\x01" * 20, None), Pair(b"\x02" * 20, b"\x03" * 20)


@pytest.mark.parametrize(
    "state",
    [
        SysrootState(ready=False),
        SysrootState(ready=False, pair=ONE, before=OTHER, scripts=True),
        SysrootState(
            ready=True,
            request=b"w",
            place=b"p",
            pair=OTHER,
            generation=3,
            boot="boot",
            private=frozenset([b"a/b"]),
            folders=frozenset([b"a"]),
            seal=b"s",
        ),
    ],
)
def test_a_state_is_read_back(tmp_path: Path, state: SysrootState) -> None:
    state.write(tmp_path / "states" / "state")
    assert SysrootState.read(tmp_path / "states" / "state") == state


def test_a_damaged_state_is_not_ready(tmp_path: Path) -> None:
    assert SysrootState.read(tmp_path / "none") is None
    (tmp_path / "state").write_bytes(b"\0")
    assert SysrootState.read(tmp_path / "state") == SysrootState(ready=False)


def test_digest_of_a_request_heeds_all_but_the_order_of_packages() -> None:
    packages = [Owned("a:install", ONE), Owned("b:install", OTHER)]
    digest = request_digest(packages, {}, {})
    assert request_digest(packages[::-1], {}, {}) == digest
    others = [
        request_digest(packages[:1], {}, {}),
        request_digest([Owned("c:install", ONE), packages[1]], {}, {}),
        request_digest(packages, {b"usr": "a"}, {}),
        request_digest(packages, {}, {"HOME": "/"}),
    ]
    assert len({digest, *others}) == 5


def test_places_and_paths_have_digests_of_their_own() -> None:
    assert place_of(None, Path("/a")) != place_of(None, Path("/b"))
    assert len(path_digest(Path("/a"))) == 40
    assert EMPTY.tree == EMPTY_TREE
