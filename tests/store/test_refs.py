from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prov.errors import RefConflict, StoreError
from prov.history.names import runs
from prov.store.objects import EMPTY_TREE, Commit, Identity, Oid
from prov.store.refs import PACK_AFTER, RefStore, RefUpdate
from prov.store.repository import Store
from tests.conftest import Git


@pytest.fixture
def oids(store: Store) -> list[Oid]:
    with store.objects.writer() as writer:
        return [
            writer.add_commit(Commit(EMPTY_TREE, (), Identity("t", "t@t", n), "x\n"))
            for n in range(3)
        ]


def test_refs_are_set_read_and_deleted(store: Store, git: Git, oids: list[Oid]) -> None:
    name = "refs/prov/output/zlib/install/abc"
    assert store.refs.get(name) is None
    store.refs.update(RefUpdate(name, oids[0]))
    assert store.refs.get(name) == oids[0]
    assert git("rev-parse", name).strip() == oids[0].hex()
    store.refs.update(RefUpdate(name, None))
    assert store.refs.get(name) is None


# present value, expected value, new value, whether the update succeeds
SWAPS = [
    (None, None, 1, True),
    (None, 0, 1, False),
    (0, None, 1, False),
    (0, 0, 1, True),
    (0, 1, 2, False),
    (0, 0, None, True),
    (0, 1, None, False),
    (0, "any", 1, True),
    (None, "any", 1, True),
    (0, "any", None, True),
]


@pytest.mark.parametrize(("there", "expected", "wanted", "goes"), SWAPS)
def test_compare_and_swap(
    store: Store,
    oids: list[Oid],
    there: int | None,
    expected: int | str | None,
    wanted: int | None,
    goes: bool,
) -> None:
    def of(number: int | None) -> Oid | None:
        return None if number is None else oids[number]

    if there is not None:
        store.refs.update(RefUpdate("refs/heads/x", oids[there]))
    update = RefUpdate(
        "refs/heads/x", of(wanted), expected if isinstance(expected, str) else of(expected)
    )
    if goes:
        store.refs.update(update)
        assert store.refs.get("refs/heads/x") == of(wanted)
    else:
        with pytest.raises(RefConflict):
            store.refs.update(update)
        assert store.refs.get("refs/heads/x") == of(there)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_several_change_together_or_not_at_all(
    store: Store, git: Git, oids: list[Oid], place: int, packed: bool
) -> None:
    names = [f"refs/tags/r/t/{number}" for number in range(3)]
    store.refs.update(*[RefUpdate(name, oids[0], None) for name in names])
    if packed:
        git("pack-refs", "--all")
    store.refs.update(RefUpdate(names[place], oids[1], oids[0]))
    before = store.refs.list("refs/")
    with pytest.raises(RefConflict):
        store.refs.update(
            *[RefUpdate(name, oids[2], oids[0]) for name in names],
            RefUpdate("refs/heads/new", oids[2]),
        )
    assert store.refs.list("refs/") == before


def test_processes_that_race_for_numbers_get_one_each(
    store: Store, oids: list[Oid], is_clean: Callable[[], None]
) -> None:
    children = []
    for _ in range(6):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                refs, won = RefStore(store.path), 0
                while won < 3:
                    number = refs.last_number("refs/tags/r/t/h") + 1
                    try:
                        refs.update(RefUpdate(f"refs/tags/r/t/h/{number}", oids[0], None))
                        won += 1
                    except RefConflict:
                        continue
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 6
    assert store.refs.last_number("refs/tags/r/t/h") == 18
    is_clean()


def test_list_returns_refs_below_a_prefix_sorted(store: Store, oids: list[Oid]) -> None:
    for name in ("refs/tags/b/1", "refs/tags/a/2", "refs/tags/ab/1", "refs/heads/a/1"):
        store.refs.update(RefUpdate(name, oids[0]))
    assert list(store.refs.list("refs/tags/a/")) == ["refs/tags/a/2"]
    assert list(store.refs.list("refs/tags/")) == [
        "refs/tags/a/2",
        "refs/tags/ab/1",
        "refs/tags/b/1",
    ]
    assert store.refs.list("refs/none/") == {}


@pytest.mark.parametrize("numbers", [[], [1], [1, 2, 3], list(range(1, 13))])
def test_last_number(store: Store, oids: list[Oid], numbers: list[int]) -> None:
    for number in numbers:
        store.refs.update(RefUpdate(f"refs/tags/r/t/h/{number}", oids[0], None))
    assert store.refs.last_number("refs/tags/r/t/h") == len(numbers)


def test_many_loose_refs_are_packed_and_stay(store: Store, oids: list[Oid]) -> None:
    store.refs.update(
        *[RefUpdate(f"refs/tags/r/t/h/{n}", oids[0], None) for n in range(1, PACK_AFTER + 20)]
    )
    reader = RefStore(store.path)
    assert reader.get("refs/tags/r/t/h/7") == oids[0]
    store.refs.pack()
    loose = [name for _, _, files in os.walk(store.path / "refs") for name in files]
    assert loose == []
    assert reader.get("refs/tags/r/t/h/7") == oids[0]
    assert len(store.refs.list("refs/tags/r/")) == PACK_AFTER + 19
    store.refs.update(RefUpdate("refs/tags/r/t/h/7", oids[1], oids[0]))
    assert reader.get("refs/tags/r/t/h/7") == oids[1]


def test_a_ref_to_nothing_is_refused_and_named(store: Store) -> None:
    with pytest.raises(StoreError, match="refs/heads/x"):
        store.refs.update(RefUpdate("refs/heads/x", b"\xab" * 20))
    assert store.refs.get("refs/heads/x") is None


def test_git_sees_the_same_refs_after_a_clone(
    store: Store, git: Git, oids: list[Oid], tmp_path: object
) -> None:
    store.refs.update(
        RefUpdate("refs/heads/builds", oids[0]), RefUpdate("refs/tags/r/t/h/1", oids[1])
    )
    target = f"{tmp_path}/clone"
    subprocess.run(["git", "clone", "-q", str(store.path), target], check=True)
    said = subprocess.run(
        ["git", "-C", target, "tag"], capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == ["r/t/h/1"]


def test_a_stores_own_hooks_do_not_run(store: Store, tmp_path: Path) -> None:
    hook = store.path / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    with store.objects.writer() as writer:
        oid = writer.add("blob", b"x")
    store.refs.update(RefUpdate("refs/prov/x", oid))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["packed-refs.new", "packed-refs.lock", "refs/tags/r/1.lock"])
def test_locks_of_a_killed_git_do_not_block_updates(
    store: Store, oids: list[Oid], name: str
) -> None:
    store.refs.update(RefUpdate("refs/tags/r/1", oids[0]), RefUpdate("refs/tags/r/2", oids[0]))
    changes: tuple[Callable[[], object], ...] = (
        lambda: store.refs.pack(at_once=True),
        lambda: store.refs.update(RefUpdate("refs/tags/r/1", None)),
    )
    for change in changes:
        (store.path / name).write_text("half")
        os.utime(store.path / name, (time.time() - 60, time.time() - 60))
        change()
    assert list(store.refs.list("refs/tags/")) == ["refs/tags/r/2"]


HOSTILE_NAMES = ["refs/tags/a\u2028b", "refs/tags/a\x85b", "refs/tags/\udcff", "refs/tags/x/y/zz/1"]


def test_names_that_others_gave_refs_are_listed_as_they_are(store: Store, oids: list[Oid]) -> None:
    store.refs.update(*(RefUpdate(name, oids[0]) for name in HOSTILE_NAMES))
    assert store.refs.list("refs/tags/") == dict.fromkeys(sorted(HOSTILE_NAMES), oids[0])
    assert store.refs.get("refs/tags/x/y/zz/1") == oids[0]
    store.refs.update(*(RefUpdate(name, None) for name in HOSTILE_NAMES))
    assert store.refs.list("refs/") == {}


@pytest.mark.parametrize(
    "name", ["", "refs/tags/a b", "refs/tags/..", "refs/tags/a.lock", "refs/tags/\udcff~"]
)
def test_an_invalid_name_has_no_ref(store: Store, name: str) -> None:
    assert store.refs.get(name) is None


@pytest.mark.parametrize(
    "prefix",
    [
        "refs/tags/../../objects/",
        "refs/tags/a b/",
        f"refs/tags/{'a/' * 4000}",
        "refs/tags/" + "a" * 300 + "/",
    ],
)
def test_a_prefix_that_no_ref_can_have_has_no_refs(
    store: Store, oids: list[Oid], prefix: str
) -> None:
    store.refs.update(RefUpdate("refs/tags/a/b/1", oids[0]))
    (store.path / "objects/x").write_text(f"{oids[0].hex()}\n")
    assert store.refs.list(prefix) == {}


def test_a_damaged_ref_is_an_error_that_names_it(store: Store) -> None:
    (store.path / "refs/heads/builds").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot read refs/heads/builds in"):
        store.refs.get("refs/heads/builds")


def test_a_tag_of_no_commit_is_not_a_run(store: Store, git: Git) -> None:
    blob = git("hash-object", "-w", "--stdin").strip()
    for name in (f"a/b/{blob}/1", f"a/b/{blob}/{'9' * 5000}"[:200], "x\u2028y"):
        git("update-ref", f"refs/tags/{name}", blob)
    assert runs(store) == []


def test_lines_are_the_listed_refs(store: Store, git: Git) -> None:
    oid, other = (
        bytes.fromhex(git("hash-object", "-w", "--stdin", data=d).strip()) for d in (b"1", b"2")
    )
    for name in ("a/1", "a/2", "b/1"):
        store.refs.update(RefUpdate(f"refs/tags/{name}", oid))
    git("-c", "user.name=t", "-c", "user.email=t@t", "tag", "-m", "annotated", "a/3", oid.hex())
    store.refs.pack(at_once=True)
    store.refs.update(RefUpdate("refs/tags/a/1", other), RefUpdate("refs/tags/a/4", oid))
    for prefix in ("refs/tags/", "refs/tags/a/", "refs/heads/"):
        expected = {f"{oid.hex()} {name}".encode() for name, oid in store.refs.list(prefix).items()}
        assert store.refs.lines(prefix) == expected
