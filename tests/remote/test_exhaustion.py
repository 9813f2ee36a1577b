"""Remotes that send too much data: a build with little memory continues without them and reports
it.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from prov.store.objects import object_id
from prov.transport.access import Access
from prov.transport.errors import TooMuch
from prov.transport.git import Transport, make_scratch
from tests.cli.story import Project
from tests.commands import PROV
from tests.remote.story import git, until
from tests.servers.liar import Liar, Request, liar

pytestmark = pytest.mark.process

MEMORY = 700 << 20
"""Bytes of address space for a build; prov itself uses about 250 MB of it."""
BOMB = 500_000_000
"""Bytes of zeros, half a megabyte when compressed."""
BY = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def project(folder: Path) -> Project:
    made = Project(folder, {"GIT_CONFIG_NOSYSTEM": "1"})
    made.write("prov.toml", 'sandbox = "none"\n')
    made.task("echo hi > out/hi")
    return made


@pytest.fixture
def victim(tmp_path: Path) -> Project:
    made = project(tmp_path / "victim")
    made.prov("init")
    return made


@pytest.fixture
def server(stack: ExitStack, tmp_path: Path) -> Liar:
    """A server of a valid static cache that can send false answers."""
    one = project(tmp_path / "one")
    one.prov("build", "a")
    one.prov("export", str(tmp_path / "www"))
    return stack.enter_context(liar(tmp_path / "www"))


def limited(
    folder: Project, memory: int, *arguments: str, seconds: float = 100.0
) -> subprocess.CompletedProcess[str]:
    """Run prov with a limited address space, in bytes."""
    return subprocess.run(
        [PROV, *arguments],
        cwd=folder.root,
        env={**os.environ, **folder.environment},
        capture_output=True,
        text=True,
        timeout=seconds,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory)),
    )


def goes_on(folder: Project, memory: int = MEMORY, name: str = "m") -> str:
    """Assert that a build runs all tasks and reports the remote; return its notes."""
    done = limited(folder, memory, "build", "a")
    assert done.returncode == 0, done.stderr
    assert "1 ran" in done.stdout
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if f"remote {name}: " in line], done.stderr
    return done.stderr


# git


class Repository:
    """A bare repository of a different user."""

    def __init__(self, path: Path) -> None:
        subprocess.run(["git", "init", "-q", "--bare", path], check=True)
        self.path = path
        # stream zeros instead of holding them in memory
        git(path, "config", "core.bigFileThreshold", "1m")

    def zeros(self, size: int = BOMB) -> str:
        with subprocess.Popen(
            ["head", "-c", str(size), "/dev/zero"], stdout=subprocess.PIPE
        ) as zeros:
            command = ["git", f"--git-dir={self.path}", "hash-object", "-w", "--stdin"]
            done = subprocess.run(
                command, stdin=zeros.stdout, capture_output=True, check=True, text=True
            )
            return done.stdout.strip()

    def add(self, kind: str, data: bytes) -> str:
        oid = object_id(kind, data).hex()  # type: ignore[arg-type]
        path = self.path / "objects" / oid[:2] / oid[2:]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(zlib.compress(b"%s %d\0" % (kind.encode(), len(data)) + data, 1))
        return oid

    def tree(self, *rows: str) -> str:
        return git(self.path, "mktree", data="".join(f"{row}\n" for row in rows)).strip()

    def publish(self, publications: str, *more: str) -> None:
        """Make a tree the folder of publications of the index."""
        tree = self.tree(f"040000 tree {publications}\tpublications", *more)
        self.index(self.commit(tree))

    def commit(self, tree: str) -> str:
        command = ["git", f"--git-dir={self.path}", "commit-tree", tree, "-m", "x"]
        done = subprocess.run(
            command, env={**os.environ, **BY}, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def index(self, commit: str) -> None:
        git(self.path, "update-ref", "refs/heads/prov/index", commit)

    def deltas(self, base: str, size: int, count: int) -> str:
        """Write a pack with a blob, given by its id, and a chain of deltas on it, each one byte
        shorter; return the id of the last one.
        """
        data = bytes(size)
        assert object_id("blob", data).hex() == base
        pack = b"PACK" + struct.pack(">II", 2, count + 1)
        at, pack = len(pack), pack + _entry_header(3, size) + zlib.compress(data, 9)
        for number in range(1, count + 1):
            left = size - number if number < count else 30
            copies, copied = b"", 0
            while copied < left:
                length = min(0xFFFFFF, left - copied)
                copies += b"\xff" + struct.pack("<I", copied) + length.to_bytes(3, "little")
                copied += length
            delta = _size(size - number + 1) + _size(left) + copies
            begin = len(pack)
            pack += _entry_header(6, len(delta)) + _distance(begin - at) + zlib.compress(delta)
            at = begin
        pack += hashlib.sha1(pack).digest()
        command = ["git", f"--git-dir={self.path}", "index-pack", "--stdin"]
        subprocess.run(command, input=pack, check=True, capture_output=True)
        return object_id("blob", bytes(30)).hex()


def _entry_header(kind: int, size: int) -> bytes:
    byte, size = kind << 4 | size & 15, size >> 4
    header = b""
    while size:
        header += bytes([byte | 128])
        byte, size = size & 127, size >> 7
    return header + bytes([byte])


def _size(number: int) -> bytes:
    text = b""
    while number > 127:
        text += bytes([number & 127 | 128])
        number >>= 7
    return text + bytes([number])


def _distance(number: int) -> bytes:
    text = bytes([number & 127])
    while number := number >> 7:
        number -= 1
        text = bytes([number & 127 | 128]) + text
    return text


@pytest.fixture
def cache(tmp_path: Path, victim: Project) -> Repository:
    """A repository that is the victim's remote `m`."""
    made = Repository(tmp_path / "cache.git")
    victim.prov("remote", "add", "m", str(made.path), "--trust", "any-signed")
    return made


@pytest.mark.attacks
@pytest.mark.parametrize("where", ["publication", "signature", "gone"])
def test_zeros_in_the_index(where: str, cache: Repository, victim: Project) -> None:
    zeros = f"100644 blob {cache.zeros()}\t00000001"
    small = f"100644 blob {cache.add('blob', b'x')}\t00000001"
    publications = cache.tree(zeros if where == "publication" else small)
    more = {
        "publication": [],
        "signature": [f"040000 tree {cache.tree(zeros)}\tsignatures"],
        "gone": [zeros.replace("00000001", "gone")],
    }
    cache.publish(publications, *more[where])
    assert "500000000 bytes" in goes_on(victim)


@pytest.mark.attacks
def test_a_small_publication_that_is_a_delta_of_a_large_file(
    cache: Repository, victim: Project
) -> None:
    small = cache.deltas(cache.zeros(200_000_000), 200_000_000, 4)
    cache.publish(cache.tree(f"100644 blob {small}\t00000001"))
    goes_on(victim, 500 << 20)


@pytest.mark.attacks
def test_a_folder_with_millions_of_publications(cache: Repository, victim: Project) -> None:
    blob = bytes.fromhex(cache.add("blob", b"x"))
    rows = b"".join(b"100644 %08d\0%s" % (number, blob) for number in range(1, 2_000_000))
    tree = cache.add("tree", rows)
    cache.index(cache.commit(cache.add("tree", b"40000 publications\0" + bytes.fromhex(tree))))
    goes_on(victim)


@pytest.mark.attacks
def test_a_commit_with_a_million_parents(cache: Repository, victim: Project) -> None:
    first = cache.commit(cache.tree())
    by = b"author x <x> 1 +0000\ncommitter x <x> 1 +0000\n\nm\n"
    text = f"tree {cache.tree()}\n".encode() + f"parent {first}\n".encode() * 1_000_000 + by
    cache.index(cache.add("commit", text))
    goes_on(victim)


def test_a_large_file_is_fetched_with_little_memory(tmp_path: Path) -> None:
    """The file is larger than the available memory, compressed or not."""
    one, other = project(tmp_path / "one"), project(tmp_path / "other")
    for each in (one, other):
        each.task(
            "head -c 300000000 /dev/zero > out/zeros; head -c 20000000 /dev/urandom > out/noise"
        )
    one.prov("build", "a")
    one.prov("remote", "add", "m", str(tmp_path / "cache.git"))
    one.prov("push")
    other.prov("init")
    other.prov("remote", "add", "m", str(tmp_path / "cache.git"))
    done = limited(other, 450 << 20, "build", "a")
    assert done.returncode == 0, done.stderr
    assert "1 fetched" in done.stdout, done.stderr
    git(other.root / ".prov", "fsck", "--full", "--no-dangling")


@pytest.mark.attacks
def test_a_pack_that_exceeds_its_limit(tmp_path: Path) -> None:
    cache = Repository(tmp_path / "cache.git")
    (tmp_path / "noise").write_bytes(os.urandom(60_000_000))
    blob = git(cache.path, "hash-object", "-w", str(tmp_path / "noise")).strip()
    cache.publish(cache.tree(f"100644 blob {blob}\t00000001"))
    scratch = make_scratch(tmp_path / "git")
    transport = Transport("m", f"file://{cache.path}", Access(dict(os.environ)))
    with pytest.raises(TooMuch):
        transport.fetch(scratch, ["+refs/heads/prov/index:refs/heads/x"], most=1_000_000)
    assert list((scratch / "objects/pack").iterdir()) == []


# static caches


def test_a_range_without_an_end(server: Liar, victim: Project) -> None:
    def endless(request: Request) -> None:
        request.begin(200)
        request.send_endlessly()

    server.answers[".bundle"] = endless
    victim.prov("remote", "add", "m", server.url, "--trust", "none")
    goes_on(victim)
    assert server.sent < 64 << 20


@pytest.mark.attacks
@pytest.mark.parametrize("end", ["prov-cache", "publications/00000001", "00000001.idx"])
def test_a_list_without_an_end(end: str, server: Liar, victim: Project) -> None:
    def endless(request: Request) -> None:
        request.begin(200)
        request.send_endlessly()

    victim.prov("remote", "add", "m", server.url, "--trust", "none")
    server.answers[end] = endless
    assert "larger" in goes_on(victim)
    assert server.sent < 128 << 20


@pytest.mark.attacks
def test_an_object_that_inflates_without_an_end(
    server: Liar, victim: Project, tmp_path: Path
) -> None:
    """The bundle's objects are gigabytes of zeros."""
    bundle = tmp_path / "www/bundles/00000001.bundle"
    data = bytearray(bundle.read_bytes())
    header = data.index(b"PACK")
    bomb = b"\x21" + zlib.compress(bytes(300_000_000), 9)
    data[header + 12 :] = bomb[: len(data) - header - 12]
    bundle.write_bytes(data)
    victim.prov("remote", "add", "m", server.url, "--trust", "none")
    goes_on(victim)


@pytest.mark.attacks
@pytest.mark.parametrize("part", ["idx", "bundle", "manifest", "swapped", "publication"])
def test_files_that_change_between_two_requests(
    part: str, server: Liar, victim: Project, tmp_path: Path
) -> None:
    """No false data is stored, and cached data is fetched again once the server is honest."""
    two = project(tmp_path / "two")
    two.task("echo other > out/hi; echo more > out/more")
    two.prov("build", "a")
    two.prov("export", str(tmp_path / "www2"))
    files = {
        "idx": ["bundles/00000001.idx"],
        "bundle": ["bundles/00000001.bundle"],
        "publication": ["publications/00000001"],
        "manifest": ["prov-cache"],
        "swapped": ["bundles/00000001.idx", "bundles/00000001.bundle"],
    }
    victim.prov("remote", "add", "m", server.url, "--trust", "none")
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / "www", kept)
    for name in files[part]:
        shutil.copy(tmp_path / "www2" / name, tmp_path / "www" / name)
    done = limited(victim, MEMORY, "build", "a")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert (victim.root / "build/deploy").exists() is False or "hi" in os.listdir(
        victim.root / "build/deploy"
    )
    git(victim.root / ".prov", "fsck", "--full", "--no-dangling")
    if part == "publication":  # accepted publications are not read again
        return
    shutil.rmtree(tmp_path / "www")
    shutil.copytree(kept, tmp_path / "www")
    said = []
    for name in ("third", "fourth"):
        other = project(tmp_path / name)
        other.prov("init")
        other.prov("remote", "add", "m", server.url, "--trust", "none")
        _take_memory(victim, other)
        said.append(other.ask("build", "a"))
        victim = other
    assert "1 fetched" in said[-1]


def _take_memory(one: Project, other: Project) -> None:
    """Copy a project's cached indexes of remotes to another project."""
    target = other.root / ".prov/prov/remotes"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(one.root / ".prov/prov/remotes", target)


@pytest.mark.attacks
@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "noise"])
def test_a_damaged_cached_index_is_fetched_again(harm: str, server: Liar, victim: Project) -> None:
    victim.prov("remote", "add", "m", server.url, "--trust", "none")
    victim.prov("remote", "list", "--refresh")
    (memory,) = (victim.root / ".prov/prov/remotes/m").glob("*/bundles")
    data = bytearray(Path(server.folder, "bundles/00000001.idx").read_bytes())
    changed = {
        "cut": bytes(data[: len(data) // 2]),
        "flip": bytes(data[:1100]) + bytes([data[1100] ^ 1]) + bytes(data[1101:]),
        "empty": b"",
        "noise": os.urandom(len(data)),
    }
    (memory / "00000001.idx").write_bytes(changed[harm])
    assert "1 fetched" in victim.ask("build", "a")


# signals


def silent(stack: ExitStack) -> int:
    """Return the port of a server that accepts connections and sends nothing."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    return int(listener.getsockname()[1])


@pytest.mark.attacks
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", ["git", "http", "range"])
def test_a_signal_ends_every_wait(
    kind: str, number: signal.Signals, server: Liar, victim: Project, stack: ExitStack
) -> None:
    if kind == "git":
        victim.prov(
            "remote", "add", "m", f"git://127.0.0.1:{silent(stack)}/cache.git", "--trust", "none"
        )
    else:
        victim.prov("remote", "add", "m", server.url, "--trust", "none")
        server.answers["prov-cache" if kind == "http" else ".bundle"] = Request.wait
    environment = {**os.environ, **victim.environment}
    with subprocess.Popen(
        [PROV, "build", "a"], cwd=victim.root, env=environment, stderr=subprocess.DEVNULL
    ) as build:
        if kind == "git":
            until(lambda: bool(_gits(victim)), "git asks")
        else:
            end = "prov-cache" if kind == "http" else ".bundle"
            until(lambda: any(path.endswith(end) for path, _ in server.seen[1:]), "prov asks")
        time.sleep(0.2)
        begun = time.monotonic()
        build.send_signal(number)
        status = build.wait(30)
        assert time.monotonic() - begun < 2.0
    assert status != 0
    until(lambda: not _gits(victim), "git has ended")


def _gits(project: Project) -> list[str]:
    """Return the git processes on a project's store."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if os.fsencode(project.root) in words and b"git" in words and b"prov\0build" not in words:
            found.append(str(path))
    return found
