"""The file is made again when it is not as prov left it, and never gives a wrong answer."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from prov.files import write_cache
from prov.processes import start_fork
from prov.query import table_file
from prov.query.answer import answer
from prov.query.table_file import FILE, SEAL, TableFile, is_unwritable
from prov.records.refs import TAGS
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from tests.commands import PROV
from tests.mounts import run_read_only, small_disk
from tests.query.stores import ALL_TABLES, fresh, kept, value

COUNT = "select count(*) from runs"


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(200, len(data), 997):
        data[at] ^= 0xFF
    path.write_bytes(data)


def fill_with_noise(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(9000))


def delete_rows(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("delete from runs where run % 2")


def link_elsewhere(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def leave_journal(path: Path) -> None:
    path.with_name(f"{FILE}-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(600))


def delete_seal(path: Path) -> None:
    path.with_name(SEAL).unlink()


def copy(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy2(path, other)
    other.rename(path)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        flip,
        fill_with_noise,
        delete_rows,
        link_elsewhere,
        leave_journal,
        delete_seal,
        copy,
        Path.unlink,
    ],
)
def test_a_file_that_prov_did_not_leave_is_made_again(
    store: Store, damage: Callable[[Path], None]
) -> None:
    answer(store, "select count(*) from files")
    expected = kept(store)
    damage(store.cache / FILE)
    before = {path.name: path.read_bytes() for path in store.cache.glob("moved")}
    assert value(store, COUNT) == 300
    answer(store, "select count(*) from files")
    assert kept(store) == expected
    assert {path.name: path.read_bytes() for path in store.cache.glob("moved")} == before
    assert not list(store.cache.glob("*-journal")) and not list(store.cache.glob("*.tmp"))


def test_an_old_format_is_made_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "FORMAT", 0)
    answer(store, COUNT)
    before = (store.cache / FILE).stat().st_ino
    monkeypatch.undo()
    os.link(store.cache / FILE, store.cache / "held")  # so that the inode is not reused
    assert value(store, COUNT) == 300
    assert (store.cache / FILE).stat().st_ino != before


def test_damage_with_a_valid_seal_is_found_by_sqlite(store: Store) -> None:
    answer(store, COUNT)
    path = store.cache / FILE
    data = path.read_bytes()
    path.write_bytes(data[:4096] + random.Random(1).randbytes(len(data) - 4096))
    write_cache(store.cache / SEAL, TableFile(store)._state())
    assert value(store, COUNT) == 300
    assert kept(store).keys() <= fresh(store).keys()


def test_two_processes_at_once(store: Store) -> None:
    command = [str(PROV), "--store", str(store.path), "query", "--csv"]
    queries = (COUNT, "select count(*) from files where kind = 'nothing'", COUNT) * 2
    processes = [
        subprocess.Popen([*command, query], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for query in queries
    ]
    answers = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(queries), answers
    counts = [out.split()[1] for out, _ in answers]
    assert counts == [b"300" if query == COUNT else b"0" for query in queries]
    assert len(list(store.cache.glob("tables.*"))) == 2


def test_an_update_beside_a_long_query_is_made_in_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_file, "PATIENCE", 0.1)
    answer(store, COUNT)
    with closing(TableFile(store).open()) as reading:
        name, oid = next(iter(store.refs.list(TAGS).items()))
        store.refs.update(RefUpdate(f"{name}9", oid, None))
        reply = answer(store, COUNT)
        assert reply.rows == [(301,)]
        assert "locked" in reply.note
        assert reading.execute(COUNT).fetchone() == (300,)
    reply = answer(store, COUNT)
    assert (reply.rows, reply.note) == ([(301,)], "")
    assert kept(store)["runs"] == fresh(store)["runs"]


@pytest.mark.process
@pytest.mark.parametrize("seed", range(6))
def test_a_kill_costs_only_time(store: Store, seed: int) -> None:
    chooser = random.Random(seed)
    if seed % 2:
        answer(store, ALL_TABLES)
    refs = store.refs.list(TAGS)
    names = chooser.sample(sorted(refs), 120)
    store.refs.update(*(RefUpdate(name, None) for name in names))
    for _ in range(5):
        pid = start_fork(lambda: answer(Store.open(store.path), ALL_TABLES))
        time.sleep(chooser.uniform(0, 0.4))
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    answer(store, ALL_TABLES)
    assert kept(store) == fresh(store)
    assert value(store, COUNT) == 180


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk_costs_only_time(generated: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "24m") as disk:
        shutil.copytree(generated, disk / "store.git")
        store = Store.open(disk / "store.git")
        with open(disk / "filling", "wb") as filling, pytest.raises(OSError, match="No space"):
            while True:
                filling.write(bytes(1 << 16))
                filling.flush()
        reply = answer(store, COUNT)
        assert reply.rows == [(300,)]
        assert "full" in reply.note or "No space" in reply.note
        (disk / "filling").unlink()
        reply = answer(store, COUNT)
        assert (reply.rows, reply.note) == ([(300,)], "")


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount")
@pytest.mark.parametrize("is_made", [False, True])
def test_a_read_only_store(store: Store, is_made: bool) -> None:
    if is_made:
        answer(store, COUNT)
    command = (str(PROV), "--store", str(store.path), "query")
    done = run_read_only(store.path, *command, "--csv", COUNT)
    assert done.stdout == "count(*)\n300\n"
    assert "made in memory" in done.stderr
    done = run_read_only(store.path, *command, "--path")
    assert done.returncode == 1
    assert "cannot write the tables" in done.stderr


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EROFS, "x"), True),
        (OSError(errno.EIO, "x"), False),
        (sqlite3.OperationalError("no such column"), False),
    ],
)
def test_errors_of_writing(error: Exception, expected: bool) -> None:
    assert is_unwritable(error) is expected
