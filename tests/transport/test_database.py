"""Cached databases about remotes are untrusted: builds continue with any content of the files."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prov.intake.digest import Digest, Digests
from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.remote.index import Damaged, Index, Listed
from prov.remote.publication import Publication, Published
from tests.cli.story import Project
from tests.remote.test_exhaustion import limited, project

TASK = Published(
    TaskKey("a:go"),
    TaskHash(bytes(20)),
    StaticKey(bytes(20)),
    OutputId(bytes(20)),
    bytes(20),
    bytes(32),
)


def change(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        database.execute(statement)
    database.close()


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def torn(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(4096, len(data), 512):
        data[at : at + 64] = os.urandom(64)
    path.write_bytes(data)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


ENDLESS = "with recursive n(x) as (select 1 union all select x + 1 from n) select x from n"
HARM: dict[str, Callable[[Path], object]] = {
    "garbage": garbage,
    "torn": torn,
    "empty": lambda path: path.write_bytes(b""),
    "a view": lambda path: change(path, "drop table tasks", f"create view tasks as {ENDLESS}"),
    "a view beside": lambda path: change(path, f"create view more as {ENDLESS}"),
    "a trigger": lambda path: change(
        path,
        "create trigger t after insert on meta begin delete from tasks; end",
        "delete from meta",
    ),
    "another column": lambda path: change(
        path, "drop index by_hash", "alter table tasks drop column hash"
    ),
    "a huge value": lambda path: change(path, "update tasks set key = hex(zeroblob(200000000))"),
    "many huge values": lambda path: change(path, "update tasks set record = zeroblob(900000000)"),
    "other types": lambda path: change(
        path, "update tasks set output = 5, size = 'x', key = x'00'"
    ),
    "text that is none": lambda path: change(path, "update tasks set key = cast(x'ff' as text)"),
    "a tip that is none": lambda path: change(
        path, "insert or replace into meta values ('tip', 'zz')"
    ),
    "a size that is none": lambda path: change(
        path, "insert or replace into meta values ('size', 'zz')"
    ),
    "a pipe": pipe,
}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a cached index of a remote with results."""
    folder = tmp_path_factory.mktemp("known")
    one, other = project(folder / "one"), project(folder / "other")
    one.prov("build", "a")
    for each in (one, other):
        each.prov("init")
        each.prov("remote", "add", "m", str(folder / "cache.git"))
    one.prov("push")
    other.prov("remote", "list", "--refresh")
    return other.root


@pytest.fixture
def shared(known: Path, tmp_path: Path) -> tuple[Project, Path]:
    """A copy of that project, and the damaged file in it."""
    shutil.copytree(known, tmp_path / "other", symlinks=True)
    other = Project(tmp_path / "other", {"GIT_CONFIG_NOSYSTEM": "1"})
    (index,) = (other.root / ".prov/prov/remotes/m").glob("*/index1")
    change(index, "pragma wal_checkpoint(truncate)", "pragma journal_mode=delete")
    return other, index


@pytest.mark.attacks
@pytest.mark.parametrize("harm", HARM)
def test_a_build_continues(harm: str, shared: tuple[Project, Path]) -> None:
    other, index = shared
    HARM[harm](index)
    done = limited(other, 600 << 20, "build", "a")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert "1 fetched" in done.stdout or "remote m: " in done.stderr, done.stdout
    done = limited(other, 600 << 20, "remote", "list", "--refresh")  # the file is repaired
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("  1 result\n")


def test_the_target_of_a_symlink_is_not_written(
    shared: tuple[Project, Path], tmp_path: Path
) -> None:
    other, index = shared
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    index.unlink()
    index.symlink_to(victim)
    other.prov("build", "a")
    assert victim.read_bytes() == b""


HUGE = pytest.param("huge", marks=pytest.mark.slow)


@pytest.mark.parametrize("harm", ["garbage", "torn", "a view beside", "other types", HUGE])
def test_digests(harm: str, tmp_path: Path) -> None:
    """Digests are computed again."""

    class Reader:
        def blob_size(self, oid: bytes) -> int:
            return 1

        def stream_blob(self, oid: bytes) -> object:
            return iter([b"x"])

    path = tmp_path / "digests"
    digests = Digests(Reader(), path)  # type: ignore[arg-type]
    wanted = digests.blob(bytes(20))
    for number in range(1000):
        digests.learn(number.to_bytes(20, "big"), Digest(bytes(32)))
    digests.learn(bytes(20), wanted)
    digests.save()
    assert digests._database is not None
    digests._database.close()
    change(path, "pragma wal_checkpoint(truncate)", "pragma journal_mode=delete")
    harms = {
        "other types": lambda path: change(
            path, "update digests2 set id = 5, paths = 'x', kind = 7"
        ),
        "huge": lambda path: change(
            path, "update digests2 set id = zeroblob(800000000) where oid = zeroblob(20)"
        ),
    }
    (harms.get(harm) or HARM[harm])(path)
    digests = Digests(Reader(), path)  # type: ignore[arg-type]
    assert digests.blob(bytes(20)) == wanted
    digests.save()


def test_an_index_is_stored(tmp_path: Path) -> None:
    index = Index(tmp_path / "index")
    with index.changing(clear=True):
        index.add(Listed(1, bytes(20), 5, "", ""), Publication(5, (TASK,)))
    index.close()
    index = Index(tmp_path / "index")
    assert index.find(TaskHash(bytes(20))) == [TASK]
    index.reset()
    assert index.count() == 0
    change(index.path, "insert into publications values (1, 'x', 'y', 'z', 'a')")
    with pytest.raises(Damaged):
        index.publications()


def test_two_processes_create_the_same_index(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from prov.remote.index import Index;"
        " Index(Path(sys.argv[1])).count()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "index")]
    running = [subprocess.Popen(command) for _ in range(6)]
    assert [each.wait() for each in running] == [0] * 6
