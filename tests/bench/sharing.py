"""Compare the bytes of sharing with sstate, which keeps a zstd tarball per task.

Run it as `python -m tests.bench.sharing`. It also times look-ups among a million tasks.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import REMOTE_INDEX as INDEX
from prov.records.refs import OutputRef, StaticRef
from prov.remote.git_remote import GitRemote
from prov.remote.index_branch import PUBLICATIONS
from prov.remote.publication import Publication, Published
from prov.remote.settings import make_remote
from prov.store.git import make_bare, run_git
from prov.store.objects import CONSTANT_IDENTITY, MODE_DIRECTORY, MODE_FILE, Commit, Entry
from prov.store.odb import ObjectDatabase
from prov.store.repository import Store
from prov.transport.access import Access
from tests.servers.daemon import git_daemon
from tests.servers.proxy import proxy

FILES, SIZE = 2000, 12_000
REBUILDS = 20
CACHED = 1_000_000
IN_ONE = 1000
ASKED = 10_000
ROUNDS = 5
TARGET = "big:package"
SHARED = ("install", "package")
"""The tasks for which sstate would keep a tarball."""
PROV = str(Path(sys.executable).with_name("prov"))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="prov-bench-") as folder:
        bench_sharing(Path(folder))


def bench_sharing(scratch: Path) -> None:
    """Print the bytes of a second pull, the growth over rebuilds, and the seconds of look-ups."""
    _bench_bytes(scratch / "bytes")
    _bench_asking(scratch / "asking")
    _bench_nothing_to_do(scratch / "idle")


# bytes


def _prov(project: Path, *words: str) -> None:
    subprocess.run([PROV, *words], cwd=project, check=True, capture_output=True)


def _write_project(project: Path) -> None:
    """Create a recipe with install, package and image; its files are half text and half noise."""
    files = project / "recipes" / "big" / "files"
    files.mkdir(parents=True)
    chance = random.Random(1)
    words = [f"word{number}" for number in range(3000)]
    for number in range(FILES):
        text = " ".join(chance.choices(words, k=SIZE // 14)).encode()
        folder = files / f"d{number % 40}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_bytes(text + chance.randbytes(SIZE // 2))
    (project / "prov.toml").write_text('sandbox = "none"\n')
    (project / "recipes" / "big" / "big.toml").write_text(
        'version = "1.0"\ninherit = ["package"]\nsources = [{ file = "files" }]\n'
        '[variables]\nS = "${WORKDIR}/files"\n'
        '[tasks.install]\nscript = "mkdir -p ${D}/usr/lib/big && cp -r ${S}/. ${D}/usr/lib/big"\n'
    )


def _edit(project: Path, part: float, seed: int) -> None:
    """Replace some files with new content."""
    chance = random.Random(seed)
    files = sorted((project / "recipes" / "big" / "files").rglob("f*"))
    for path in chance.sample(files, max(1, int(len(files) * part))):
        path.write_bytes(chance.randbytes(SIZE))


def _tarballs(project: Path, tasks: Sequence[str] = SHARED) -> int:
    """Return the size in bytes that sstate would need for these tasks' outputs."""
    total = 0
    for task in tasks:
        with tempfile.TemporaryDirectory() as folder:
            _prov(project, "checkout", f"big:{task}@output", f"{folder}/output")
            command = f"tar -C {folder}/output -c . | zstd -q -8 -T2 | wc -c"
            total += int(
                subprocess.run(command, shell=True, check=True, capture_output=True).stdout
            )
    return total


def _bench_bytes(scratch: Path) -> None:
    one, other, served = scratch / "one", scratch / "other", scratch / "served"
    _write_project(one)
    subprocess.run(["cp", "-r", one, other], check=True)
    make_bare(served / "cache.git")
    with (
        tempfile.TemporaryDirectory() as private,
        git_daemon(served, Path(private)) as server,
        proxy(server.port) as line,
    ):
        url = server.at(line.port).url("cache.git")
        for project in (one, other):
            _prov(project, "init")
            _prov(project, "remote", "add", "team", url, "--trust", "none")
        _prov(one, "build", "--offline", TARGET)
        _prov(one, "push", "--remote", "team")
        _prov(other, "build", TARGET)
        _edit(one, 0.01, 99)
        subprocess.run(["cp", "-r", one / "recipes", other], check=True)
        _prov(one, "build", "--offline", TARGET)
        up = line.up
        _prov(one, "push", "--remote", "team")
        pushed, down = line.up - up, line.down
        _prov(other, "build", TARGET)
        pulled, package = line.down - down, _tarballs(one, ["package"])
    _ratio("bytes of a pull after 1 % of the files changed", pulled, package, 0.05)
    _ratio("bytes of the push before it", pushed, _tarballs(one), 0.05)
    before, theirs = _size(one), 0
    for number in range(REBUILDS):
        _edit(one, 0.001, number)
        _prov(one, "build", "--offline", TARGET)
        theirs += _tarballs(one)
    _ratio(
        f"growth of the store over {REBUILDS} rebuilds, 2 files each",
        _size(one) - before,
        theirs,
        0.10,
    )


def _size(project: Path) -> int:
    packs = (project / ".prov" / "objects").rglob("*")
    return sum(path.stat().st_size for path in packs if path.is_file())


def _ratio(name: str, value: float, other: float, bound: float) -> None:
    part = value / other
    print(
        f"{name:52} {value / 1000:8.0f} kB {other / 1000:8.0f} kB  ratio {part:6.4f}  (wanted: at"
        f" most {bound})"
    )


# look-ups


def _published(number: int) -> Published:
    chance = random.Random(number)
    return Published(
        TaskKey(f"recipe{number % 5000}:task{number % 10}"),
        TaskHash(chance.randbytes(20)),
        StaticKey(chance.randbytes(20)),
        OutputId(chance.randbytes(20)),
        chance.randbytes(20),
        digest=chance.randbytes(32),
        size=1,
    )


def append_publications(remote: Path, first: int, publications: int, count: int) -> None:
    """Append publications with a number of tasks each to a remote's index."""
    known = run_git(remote, ["for-each-ref", "--format=%(objectname)", INDEX]).decode().strip()
    last = bytes.fromhex(known) if known else None
    with ObjectDatabase(remote).writer() as writer:
        for number in range(first, first + publications):
            tasks = tuple(_published(number * IN_ONE + each) for each in range(count))
            blob = writer.add_blob(Publication(number, tasks).encode())
            folder = writer.add_tree([Entry(f"{number:08d}".encode(), MODE_FILE, blob)])
            tree = writer.add_tree([Entry(PUBLICATIONS.encode(), MODE_DIRECTORY, folder)])
            last = writer.add_commit(
                Commit(tree, (last,) if last else (), CONSTANT_IDENTITY, "tasks\n")
            )
    assert last is not None
    run_git(remote, ["update-ref", INDEX, last.hex()])


def _bench_asking(scratch: Path) -> None:
    """Look up 10,000 task hashes in a remote of a million, which has half of them.

    Repeat the look-up after another push.
    """
    served = scratch / "served"
    make_bare(served / "cache.git")
    append_publications(served / "cache.git", 1, CACHED // IN_ONE, IN_ONE)
    store = Store.create(scratch / "store")
    chance = random.Random(5)
    known = [_published(chance.randrange(IN_ONE, CACHED)).task_hash for _ in range(ASKED // 2)]
    wanted = known + [chance.randbytes(20) for _ in range(ASKED // 2)]
    with tempfile.TemporaryDirectory() as private, git_daemon(served, Path(private)) as server:
        remote = make_remote("team", server.url("cache.git"), scratch, trust="none")
        opened = GitRemote(remote, store, Access(dict(os.environ)))
        begun = time.perf_counter()
        opened.refresh()
        cold = time.perf_counter() - begun
        times = []
        for each in range(ROUNDS):
            append_publications(served / "cache.git", CACHED // IN_ONE + 1 + each, 1, 100)
            requests = len(server.requests())
            begun = time.perf_counter()
            again = GitRemote(remote, store, Access(dict(os.environ)))
            again.refresh()
            missing = again.index.missing(wanted)
            times.append(time.perf_counter() - begun)
            assert len(missing) == ASKED // 2
            asked = len(server.requests(at_least=requests + 1)) - requests
    print(
        f"{'10,000 hashes asked of a remote with 1,000,000 tasks':52}"
        f" {statistics.median(times):8.3f} s  (wanted: 1)"
    )
    print(f"{'  connections for that':52} {asked:8}")
    print(f"{'  the first time, when nothing is known of it':52} {cold:8.3f} s")
    sizes = sum(path.stat().st_size for path in opened.folder.rglob("*") if path.is_file())
    print(f"{'  on disk here':52} {sizes / 1e6:8.0f} MB")


# nothing to do


def _bench_nothing_to_do(scratch: Path) -> None:
    """Run a no-op build in a small store and in one with a million additional cached tasks."""
    times = {}
    for name, cached in (("small", 0), ("large", CACHED)):
        project = scratch / name
        _write_project(project)
        _prov(project, "build", TARGET)
        _add_refs(project / ".prov", cached)
        _prov(project, "build", TARGET)
        rounds = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            _prov(project, "build", TARGET)
            rounds.append(time.perf_counter() - begun)
        times[name] = statistics.median(rounds)
    more = times["large"] - times["small"]
    print(f"{'build with nothing to do, 1,000,000 cached tasks':52} {times['large']:8.3f} s")
    print(f"{'  the same in a small store':52} {times['small']:8.3f} s")
    print(f"{'  difference':52} {more:8.3f} s  (wanted: at most 0.3)")


def _add_refs(git_dir: Path, count: int) -> None:
    """Add an output ref and a static key for each of many tasks, all with the same output."""
    if not count:
        return
    run_git(git_dir, ["pack-refs", "--all"])
    there = (git_dir / "packed-refs").read_text().splitlines()
    output = next(line.split(" ")[0] for line in there if " refs/prov/output/" in line)
    rows = [line for line in there if not line.startswith("#")]
    for number in range(count):
        task = _published(number)
        rows.append(f"{output} {OutputRef(task.key, task.task_hash)!s}")
        rows.append(f"{output} {StaticRef(task.key, task.static_key)!s}")
    rows.sort(key=lambda row: row.split(" ", 1)[1])
    header = "# pack-refs with: peeled fully-peeled sorted \n"
    (git_dir / "packed-refs").write_text(header + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
