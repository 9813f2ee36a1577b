"""For formats that git reads too, git accepts all that prov accepts, and both read the same."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from prov.intake.wellformed import BadObject, Limits, checked_commit, checked_entries
from prov.statements.dsse import PAYLOAD_TYPE, load_signer, sign
from prov.store.deltas import apply
from prov.store.git import git_environment
from prov.store.objects import (
    MODE_DIRECTORY,
    MODE_EXECUTABLE,
    MODE_FILE,
    MODE_SYMLINK,
    Entry,
    decode_commit,
    decode_tree,
    encode_tree,
    object_id,
)
from prov.store.odb import ObjectDatabase
from prov.store.packs import PackStream, _entry_header
from prov.store.rawrefs import is_name
from prov.store.repository import Store
from tests.fuzz.common import scratch, text
from tests.fuzz.history import PEM
from tests.fuzz.mutation import mutated
from tests.fuzz.remote import escaped_trees, own_commits
from tests.fuzz.store import delta_bytes, ref_names, steps, trees

pytestmark = pytest.mark.process

COUNT = 25
"""The number of examples; each starts some processes."""
NUMBERS = st.integers(0, 1 << 16)
FIXED = settings(max_examples=COUNT, derandomize=True, phases=(Phase.generate,))


@pytest.fixture(scope="module")
def repository() -> Path:
    return Store.create(scratch("git") / "store.git").path


def git(repository: Path, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["git", f"--git-dir={repository}", *arguments]
    return subprocess.run(
        command, input=data, capture_output=True, check=False, env=git_environment()
    )


def accepts(repository: Path, kind: str, data: bytes) -> bool:
    """Return whether `git hash-object` accepts some bytes as an object; it checks no references."""
    return git(repository, "hash-object", "-w", "-t", kind, "--stdin", data=data).returncode == 0


def git_mode(mode: int) -> int:
    """Return the mode that git uses for another mode."""
    if stat.S_ISREG(mode):
        return MODE_EXECUTABLE if mode & 0o100 else MODE_FILE
    return {stat.S_IFLNK: MODE_SYMLINK, stat.S_IFDIR: MODE_DIRECTORY}.get(
        stat.S_IFMT(mode), 0o160000
    )


@FIXED
@given(trees, trees, NUMBERS)
def test_a_tree_that_git_accepts_is_read_as_git_reads_it(
    repository: Path, entries: list[Entry], other: list[Entry], number: int
) -> None:
    data = mutated(encode_tree(entries), encode_tree(other), random.Random(number))
    if not accepts(repository, "tree", data):
        return
    rows = git(repository, "ls-tree", "-z", object_id("tree", data).hex()).stdout.split(b"\0")[:-1]
    try:
        entries = decode_tree(data)
    except ValueError:  # git up to 2.39 accepts a mode of any length
        return
    read = [(b"%06o" % git_mode(each.mode), each.oid.hex().encode(), each.name) for each in entries]
    assert [
        (row[:6], row.partition(b"\t")[0].split(b" ")[2], row.partition(b"\t")[2]) for row in rows
    ] == read


def test_git_accepts_an_accepted_tree(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store.git")
    taken: list[bytes] = []

    @settings(max_examples=300, derandomize=True)
    @given(escaped_trees, escaped_trees, NUMBERS)
    def take(entries: list[Entry], other: list[Entry], number: int) -> None:
        data = mutated(encode_tree(entries), encode_tree(other), random.Random(number))
        for each in (data, encode_tree(entries)):
            with contextlib.suppress(BadObject):
                if all(
                    any(entry.oid) for entry in checked_entries(each, b"", Limits())
                ):  # no object has the null id
                    taken.append(each)

    take()
    with store.objects.writer() as writer:
        for data in taken:
            writer.add("tree", data)
    assert len(taken) > 300
    done = git(store.path, "fsck", "--strict", "--no-dangling", "--no-progress")
    faults = [
        line for line in done.stderr.splitlines() if line.startswith((b"error in", b"warning in"))
    ]
    assert [
        line for line in faults if not line.endswith(b"broken links")
    ] == []  # it points to an object that the store lacks


@FIXED
@given(own_commits, own_commits, NUMBERS)
def test_git_reads_an_accepted_commit_equally(
    repository: Path, commit: Any, other: Any, number: int
) -> None:
    data = mutated(commit.encode(), other.encode(), random.Random(number))
    for each in (data, commit.encode()):
        try:
            checked_commit(each, bytes(20))
        except BadObject:
            continue
        ids = [decode_commit(each).tree, *decode_commit(each).parents]
        if (
            not all(map(any, ids)) or ids[0] in ids[1:]
        ):  # no object has the null id, and none is both a tree and a commit
            continue
        assert accepts(repository, "commit", each), each
        form = "--format=%T %P%n%at"
        logged = (
            git(repository, "log", "-1", "--no-walk", form, object_id("commit", each).hex())
            .stdout.decode()
            .split()
        )
        read = decode_commit(each)
        assert logged == [
            read.tree.hex(),
            *(oid.hex() for oid in read.parents),
            str(read.author.seconds),
        ]


@FIXED
@given(ref_names, ref_names, NUMBERS)
def test_an_accepted_ref_name_is_valid_in_git(
    repository: Path, name: str, other: str, number: int
) -> None:
    data = mutated(name.encode(), other.encode(), random.Random(number)).replace(b"\0", b"")[:200]
    changed = text(data)
    allowed = git(repository, "check-ref-format", changed).returncode == 0
    is_text = not any("\ud800" <= letter <= "\udfff" for letter in changed)
    below = changed.startswith("refs/") and changed.count("/") >= 2
    assert is_name(changed) == (allowed and is_text and below), changed


@FIXED
@given(st.binary(min_size=1, max_size=99), steps, NUMBERS)
def test_git_resolves_a_delta_equally(
    repository: Path, base: bytes, made: list[Any], number: int
) -> None:
    delta = mutated(delta_bytes(base, made), b"\x90\x01\x03abc", random.Random(number))
    folder = scratch(f"delta-{random.getrandbits(60):x}")
    store = Store.create(folder / "s.git")
    stream = PackStream(scratch(f"pack-{random.getrandbits(60):x}"))
    stream.add(object_id("blob", base), "blob", base)
    packed = _entry_header(7, len(delta)) + object_id("blob", base) + isal_zlib.compress(delta)
    stream.add_packed(b"\xff" * 20, isal_zlib.crc32(packed), [packed])
    index = stream.finish()
    assert index is not None
    pack = index.with_suffix(".pack")
    done = git(store.path, "index-pack", "--stdin", data=pack.read_bytes())
    content = apply(base, delta)
    assert (done.returncode == 0) == (content is not None), (base, delta)
    if content is not None:
        assert ObjectDatabase(store.path).read(object_id("blob", content)) == ("blob", content)


@settings(max_examples=50, derandomize=True)
@given(st.binary(max_size=200))
def test_an_envelope_is_read_as_by_a_simple_json_reader(payload: bytes) -> None:
    pytest.importorskip("securesystemslib.dsse")
    path = scratch("files") / "key.pem"
    path.write_bytes(PEM)
    envelope = json.loads(sign(payload, load_signer(path)))
    assert base64.b64decode(envelope["payload"], validate=True) == payload
    assert envelope["payloadType"] == PAYLOAD_TYPE
    assert len(envelope["signatures"]) == 1
