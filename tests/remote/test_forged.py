"""A remote that an attacker changed: builds report the fault, the key and the task, and run the
tasks.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.remote.publication import Published, record_commit
from tests.remote.conftest import Machines
from tests.remote.keys import Keys, allow, sign_with
from tests.remote.story import Cache, Machine

pytestmark = pytest.mark.process


class Forger:
    """An attacker with push access to a cache that rewrites its publications."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def git(self, *arguments: str, data: bytes = b"") -> bytes:
        who = {
            f"GIT_{who}_{what}": "x"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        command = ["git", f"--git-dir={self.cache.path}", *arguments]
        return subprocess.run(
            command, input=data, capture_output=True, check=True, env=os.environ | who
        ).stdout

    @property
    def text(self) -> bytes:
        return self.git("show", "prov/index:publications/00000001")

    @property
    def signature(self) -> bytes:
        return self.git("show", "prov/index:signatures/00000001")

    def blob(self, data: bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", data=data).decode().strip()

    def replace(self, text: bytes, signature: bytes | None) -> None:
        """Make an index of one publication."""
        rows = ""
        for folder, data in (("publications", text), ("signatures", signature)):
            if data is not None:
                row = f"100644 blob {self.blob(data)}\t00000001\n"
                rows += (
                    "040000 tree"
                    f" {self.git('mktree', data=row.encode()).decode().strip()}\t{folder}\n"
                )
        tree = self.git("mktree", data=rows.encode()).decode().strip()
        self.git(
            "update-ref",
            "refs/heads/prov/index",
            self.git("commit-tree", tree, "-m", "x").decode().strip(),
        )

    def lines(self) -> dict[str, list[str]]:
        rows = [
            line.split(" ") for line in self.text.decode().splitlines() if line.startswith("task ")
        ]
        return {row[1]: row[1:] for row in rows}

    def say(self, lines: dict[str, list[str]], key: Path) -> None:
        """Publish other lines, signed by a key."""
        text = "prov publication 1\ntime 5\n" + "".join(
            f"task {' '.join(line)}\n" for line in lines.values()
        )
        self.replace(text.encode(), sign_with(text.encode(), key))


HASH, OUTPUT, RECORD, DIGEST = 1, 3, 4, 5


def _replay(forger: Forger, keys: Keys) -> None:
    lines = forger.lines()
    lines["app:pack"][RECORD : DIGEST + 1] = lines["app:make"][RECORD : DIGEST + 1]
    forger.say(lines, keys.allowed)


def _other_output(forger: Forger, keys: Keys) -> None:
    lines = forger.lines()
    lines["app:pack"][OUTPUT] = lines["app:make"][OUTPUT]
    forger.say(lines, keys.allowed)


def _other_digest(forger: Forger, keys: Keys) -> None:
    lines = forger.lines()
    lines["app:pack"][DIGEST] = "0" * 64
    forger.say(lines, keys.allowed)


CHANGES: dict[str, tuple[Callable[[Forger, Keys], None], str]] = {
    "unsigned": (lambda f, k: f.replace(f.text, None), "a publication is not signed"),
    "unknown": (
        lambda f, k: f.replace(f.text, sign_with(f.text, k.other)),
        "signed with a key that is not in the signers file",
    ),
    "altered": (
        lambda f, k: f.replace(f.text.replace(b"size=", b"size=1"), f.signature),
        "does not match its signature",
    ),
    "other": (
        lambda f, k: f.replace(f.text, sign_with(b"x", k.allowed)),
        "a publication does not match its signature",
    ),
    "namespace": (
        lambda f, k: f.replace(f.text, sign_with(f.text, k.allowed, "git")),
        "does not match its signature",
    ),
    "noise": (
        lambda f, k: f.replace(f.text, b"noise"),
        "a publication does not match its signature",
    ),
    "malformed": (
        lambda f, k: f.replace(b"x", sign_with(b"x", k.allowed)),
        "invalid publication",
    ),
    "replay": (_replay, "app:pack: the record belongs to 'app:make'"),
    "output": (_other_output, "app:pack: the output differs from the signed output"),
    "digest": (_other_digest, "app:pack: the record does not match its signed SHA-256"),
}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


@pytest.fixture
def forger(folder_cache: Cache, machines: Machines, keys: Keys) -> Forger:
    """A cache with signed results of the project."""
    options = ("--trust", "keys", "--signers", str(keys.signers), "--key", str(keys.allowed))
    one = machines("one", folder_cache, *options, built=True)
    assert one.ask("push") == "team: 5 results published in 1 push; 0 already there\n"
    return Forger(folder_cache)


def _reader(machines: Machines, forger: Forger, keys: Keys, name: str = "other") -> Machine:
    return machines(name, forger.cache, "--trust", "keys", "--signers", str(keys.signers))


def _results(machine: Machine) -> int:
    """Return the number of usable results at the remote, after a refresh."""
    (row,) = machine.json("remote", "list", "--refresh")["remotes"]
    return int(row["results"])


@pytest.mark.parametrize("name", CHANGES)
def test_a_build_continues_without_untrusted_results(
    forger: Forger, machines: Machines, keys: Keys, name: str
) -> None:
    change, words = CHANGES[name]
    change(forger, keys)
    other = _reader(machines, forger, keys)
    assert "fetched" not in other.build() or name in ("replay", "output", "digest")
    assert words in other.said and "remote team" in other.said
    if name not in ("unsigned", "malformed", "altered", "other", "namespace", "noise"):
        assert "(key SHA256:" in other.said
    if name != "malformed":
        assert "app:pack" in other.said
    assert other.deployed() == other.wanted()
    other.is_clean()


def test_a_revoked_key_and_a_changed_policy(forger: Forger, machines: Machines, keys: Keys) -> None:
    other = _reader(machines, forger, keys)
    assert _results(other) == 5
    allow(keys.signers, keys.other)
    assert _results(other) == 0
    assert (
        "a key that is not in the signers file"
        in other.prov("plan", "app").stderr + other.prov("build", "words").stderr
    )
    other.prov("remote", "add", "team", forger.cache.url, "--trust", "none")
    assert _results(other) == 5
    other.prov(
        "remote", "add", "team", forger.cache.url, "--trust", "keys", "--signers", str(keys.signers)
    )
    assert _results(other) == 0
    allow(keys.signers, keys.other, keys.allowed)
    assert _results(other) == 5


def test_swapped_objects_at_the_remote(forger: Forger, machines: Machines, keys: Keys) -> None:
    """An output in the remote's repository is replaced under the signed id."""
    other = _reader(machines, forger, keys)
    for pack in (forger.cache.path / "objects/pack").glob("*.pack"):
        moved = pack.rename(forger.cache.path / pack.name)
        pack.with_suffix(".idx").unlink()
        forger.git("unpack-objects", "-q", data=moved.read_bytes())
        moved.unlink()
    victim = forger.lines()["app:pack"][OUTPUT]
    evil = (
        forger.git("mktree", data=f"100644 blob {forger.blob(b'evil')}\tevil\n".encode())
        .decode()
        .strip()
    )
    folder = forger.cache.path / "objects"
    target = folder / victim[:2] / victim[2:]
    target.chmod(0o644)
    target.write_bytes((folder / evil[:2] / evil[2:]).read_bytes())
    assert "fetched" not in other.build() and "remote team" in other.said
    assert other.deployed() == other.wanted()
    other.is_clean()


def test_a_record_with_a_forbidden_object(forger: Forger, machines: Machines, keys: Keys) -> None:
    """The record is signed by an allowed key and contains a name that git itself rejects."""
    lines = forger.lines()
    tree = lines["app:pack"][RECORD]
    git = (
        forger.git(
            "hash-object", "-t", "tree", "-w", "--literally", "--stdin", data=_evil_tree(forger)
        )
        .decode()
        .strip()
    )
    rows = [
        row
        for row in forger.git("ls-tree", tree).decode().splitlines(True)
        if not row.endswith("\tdefinition\n")
    ]
    record = (
        forger.git("mktree", data="".join([*rows, f"040000 tree {git}\tmore\n"]).encode())
        .decode()
        .strip()
    )
    commit = Published(
        TaskKey("a:b"), TaskHash(b""), StaticKey(b""), OutputId(b""), bytes.fromhex(record), b""
    ).commit
    forger.git(
        "hash-object",
        "-t",
        "commit",
        "-w",
        "--stdin",
        data=record_commit(bytes.fromhex(record)).encode(),
    )
    forger.git("update-ref", "refs/heads/prov/more", commit.hex())
    lines["app:pack"][RECORD] = record
    forger.say(lines, keys.allowed)
    other = _reader(machines, forger, keys)
    other.build()
    assert "remote team: it sent objects that git rejected" in other.said
    assert other.deployed() == other.wanted()
    other.is_clean()


def _evil_tree(forger: Forger) -> bytes:
    return b"100644 .git\0" + bytes.fromhex(forger.blob(b"x"))
