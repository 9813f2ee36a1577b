"""A transaction changes refs as git does, and git agrees about every result."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prov.errors import RefConflict, StoreError
from prov.store import refs as refs_module
from prov.store.objects import EMPTY_TREE, Commit, Identity, Oid
from prov.store.ref_update import LOCK_IS_DEAD
from prov.store.refs import RefStore, RefUpdate
from prov.store.repository import Store
from tests.conftest import Git

NAMES = ["refs/tags/a", "refs/tags/a/b", "refs/tags/a/b/c", "refs/tags/d/e", "refs/heads/x"]
VALUES = st.sampled_from([None, 0, 1])
SWAPS = st.tuples(st.sampled_from(NAMES), VALUES, st.sampled_from([None, 0, 1, "any"])).filter(
    lambda row: row[1:] != (None, None)  # git rejects the command to delete a missing ref
)
UPDATES = st.lists(SWAPS, min_size=1, max_size=4)


@pytest.fixture
def oids(store: Store) -> list[Oid]:
    with store.objects.writer() as writer:
        return [
            writer.add_commit(Commit(EMPTY_TREE, (), Identity("t", "t@t", n), "x\n"))
            for n in range(2)
        ]


def by_git(store: Path, updates: list[RefUpdate]) -> bool:
    """Apply updates by `git update-ref`; return whether it accepts them."""
    lines = ["start\0"]
    for update in updates:
        old = "" if update.old == "any" else (update.old or bytes(20)).hex()  # type: ignore[union-attr]
        if update.new is None:
            lines.append(f"delete {update.name}\0{old}\0")
        else:
            lines.append(f"update {update.name}\0{update.new.hex()}\0{old}\0")
    lines += ["prepare\0", "commit\0"]
    command = ["git", f"--git-dir={store}", "update-ref", "--stdin", "-z"]
    data = "".join(lines).encode()
    return subprocess.run(command, input=data, capture_output=True, check=False).returncode == 0


def listed(store: Path) -> str:
    command = ["git", f"--git-dir={store}", "for-each-ref"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(UPDATES, st.booleans()), min_size=1, max_size=4))
def test_git_accepts_the_same_updates_with_the_same_result(
    store: Store,
    oids: list[Oid],
    tmp_path: Path,
    transactions: list[tuple[list[tuple[str, int | None, int | str | None]], bool]],
) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    for copy in (mine, other):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(store.path, copy)
    refs = RefStore(mine)

    def oid(number: int | str | None) -> Oid | str | None:
        return oids[number] if isinstance(number, int) else number

    for rows, packs in transactions:
        updates = [RefUpdate(name, oid(new), oid(old)) for name, new, old in rows]  # type: ignore[arg-type]
        try:
            refs.update(*updates)
            accepted = True
        except StoreError:
            accepted = False
        assert accepted == by_git(other, updates)
        assert listed(mine) == listed(other)
        assert list(refs.list("refs/")) == [row.split("\t")[1] for row in listed(mine).splitlines()]
        if packs:
            refs.pack(at_once=True)
            assert listed(mine) == listed(other)
    assert not [path for path in mine.rglob("*.lock") if "locks" not in path.parts]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("present", "new"),
    [("refs/tags/a", "refs/tags/a/b"), ("refs/tags/a/b", "refs/tags/a")],
)
def test_a_name_below_a_ref_conflicts(
    store: Store, oids: list[Oid], present: str, new: str, packed: bool
) -> None:
    store.refs.update(RefUpdate(present, oids[0]))
    if packed:
        store.refs.pack(at_once=True)
    with pytest.raises(RefConflict, match=new):
        store.refs.update(RefUpdate(new, oids[0]))
    store.refs.update(RefUpdate(present, None))
    store.refs.update(RefUpdate(new, oids[0]))  # the old ref's empty folder is replaced
    assert store.refs.list("refs/tags/") == {new: oids[0]}


@pytest.mark.parametrize(
    "name",
    [
        "HEAD",
        "config",
        "refs/tags/../../x",
        "refs/tags/a.lock",
        "refs/tags/.a",
        "refs/tags/a b",
        "",
    ],
)
def test_an_invalid_name_is_rejected(store: Store, oids: list[Oid], name: str) -> None:
    with pytest.raises(StoreError, match="invalid ref name"):
        store.refs.update(RefUpdate(name, oids[0]))


def test_two_updates_of_one_ref_are_rejected(store: Store, oids: list[Oid]) -> None:
    update = RefUpdate("refs/tags/a", oids[0])
    with pytest.raises(StoreError, match="several updates"):
        store.refs.update(update, update)


@pytest.mark.parametrize("name", ["refs/tags/a.lock", "packed-refs.lock"])
def test_a_held_lock_is_waited_for_and_then_reported(
    store: Store, oids: list[Oid], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    store.refs.update(RefUpdate("refs/tags/a", oids[0]), RefUpdate("refs/tags/b", oids[0]))
    store.refs.pack(at_once=True)
    (store.path / name).write_text("")
    monkeypatch.setattr(refs_module, "PATIENCE", 0.2)
    delete = RefUpdate("refs/tags/a", None)
    with pytest.raises(StoreError, match="held by another process"):
        store.refs.update(RefUpdate("refs/tags/b", oids[1]), delete)
    assert store.refs.list("refs/tags/") == {"refs/tags/a": oids[0], "refs/tags/b": oids[0]}
    assert (store.path / name).exists()
    dead = time.time() - LOCK_IS_DEAD - 1
    os.utime(store.path / name, (dead, dead))
    store.refs.update(delete)
    assert store.refs.list("refs/tags/") == {"refs/tags/b": oids[0]}


def test_a_kill_between_two_refs_leaves_the_first_and_later_updates_work(
    store: Store, oids: list[Oid]
) -> None:
    names = ["refs/tags/a/1", "refs/tags/b/1"]
    pid = os.fork()
    if pid == 0:
        rename, done = os.rename, list[str]()

        def dying(source: str, target: str) -> None:
            if done:
                os._exit(9)
            done.append(target)
            rename(source, target)

        os.rename = dying  # type: ignore[assignment]
        store.refs.update(*(RefUpdate(name, oids[0]) for name in names))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert store.refs.list("refs/") == {names[0]: oids[0]}
    assert listed(store.path).endswith(f"{names[0]}\n")
    for lock in (store.path / "refs").rglob("*.lock"):
        dead = time.time() - LOCK_IS_DEAD - 1
        os.utime(lock, (dead, dead))
    store.refs.update(RefUpdate(names[1], oids[1]))
    assert store.refs.list("refs/") == {names[0]: oids[0], names[1]: oids[1]}


def test_a_transaction_starts_no_process_and_syncs_each_file_and_folder_once(
    store: Store, oids: list[Oid], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_process(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a transaction started a process")

    synced: list[str] = []
    sync = os.fsync

    def recording(fd: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), store.path))
        sync(fd)

    monkeypatch.setattr(subprocess, "Popen", no_process)
    monkeypatch.setattr(os, "fsync", recording)
    store.refs.update(RefUpdate("refs/tags/r/t/1", oids[0]), RefUpdate("refs/tags/r/t/2", oids[1]))
    assert synced == [
        "refs/tags/r/t/2.lock",
        "refs/tags/r/t/1.lock",
        "refs/tags/r/t",
        "refs/tags/r",
        "refs/tags",
    ]
    synced.clear()
    store.refs.update(RefUpdate("refs/tags/r/t/1", oids[0]), RefUpdate("refs/tags/r/t/2", None))
    # the first did not change, but another process may have set it without having synced it
    assert synced == ["refs/tags/r/t", "refs/tags/r/t"]


def test_a_shared_repository_stays_shared(store: Store, oids: list[Oid]) -> None:
    os.chmod(store.path / "refs", 0o2775)
    old = os.umask(0o077)
    try:
        store.refs.update(RefUpdate("refs/prov/x/y/z", oids[0]))
        store.refs.pack(at_once=True)
        store.refs.update(RefUpdate("refs/prov/x/y/z", oids[1]))
    finally:
        os.umask(old)
    modes = {
        path: stat.S_IMODE((store.path / path).stat().st_mode) & 0o777
        for path in ("refs/prov/x/y/z", "refs/prov/x/y", "packed-refs")
    }
    assert modes == {"refs/prov/x/y/z": 0o664, "refs/prov/x/y": 0o775, "packed-refs": 0o664}


@pytest.mark.parametrize(
    ("setting", "existing", "logged"),
    [
        ("false", False, []),
        ("false", True, ["refs/tags/a"]),
        ("true", False, ["refs/heads/x"]),
        ("always", False, ["refs/heads/x", "refs/tags/a"]),
    ],
)
def test_logs_of_refs_are_kept_as_configured(
    store: Store, git: Git, oids: list[Oid], setting: str, existing: bool, logged: list[str]
) -> None:
    git("config", "core.logallrefupdates", setting)
    if existing:
        (store.path / "logs/refs/tags").mkdir(parents=True)
        (store.path / "logs/refs/tags/a").touch()
    refs = RefStore(store.path)
    names = ["refs/heads/x", "refs/tags/a"]
    refs.update(*(RefUpdate(name, oids[0]) for name in names))
    refs.update(*(RefUpdate(name, oids[1]) for name in names))
    for name in names:
        hashes = [line for line in git("reflog", "show", "--format=%H", name).splitlines() if line]
        expected = [oids[1].hex(), oids[0].hex()] if name in logged else []
        assert hashes == expected
    refs.update(*(RefUpdate(name, None) for name in names))
    assert not [path for path in (store.path / "logs").rglob("*") if path.is_file()]


def test_packed_tags_keep_the_ids_that_they_peel_to(
    store: Store, git: Git, oids: list[Oid]
) -> None:
    git("-c", "user.name=t", "-c", "user.email=t@t", "tag", "-m", "x", "annotated", oids[0].hex())
    store.refs.update(RefUpdate("refs/tags/plain", oids[1]))
    before = git("show-ref", "-d")
    missing = store.path / "refs/tags/missing"
    missing.write_text(f"{'ab' * 20}\n")
    store.refs.pack(at_once=True)
    assert missing.exists()  # git cannot peel it
    missing.unlink()
    assert git("show-ref", "-d") == before
    text = (store.path / "packed-refs").read_text()
    assert f"^{oids[0].hex()}\n" in text
    git("pack-refs", "--all")
    assert (store.path / "packed-refs").read_text() == text
