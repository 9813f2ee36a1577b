"""Hash equivalences from remotes: trust, form and size are checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from prov.bitbake import equivalence
from prov.bitbake.equivalence import LIMIT, record_lines
from prov.store.repository import Store
from tests.bitbake.recorded import Replayed
from tests.remote.keys import Keys

pytestmark = pytest.mark.process

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
GOOD = f"oe.sstatesig.OEOuthashBasic {A} {B} {C}"
BAD = {
    "a unihash that is a path": f"m {A} {B} ../../../../home/x",
    "a unihash with a slash": f"m {A} {B} {'a' * 31}/{'b' * 32}",
    "a short hash": f"m {A} {B} abc",
    "upper case digits": f"m {A} {B} {'A' * 64}",
    "digits of another script": f"m {A} {B} " + "٣" * 64,
    "a method that is a path": f"../m {A} {B} {C}",
    "a method with an escape": f"m\x1b[2J {A} {B} {C}",
    "a long method": f"{'m' * 200} {A} {B} {C}",
    "no method": f" {A} {B} {C}",
    "five words": f"m {A} {B} {C} x",
    "three words": f"m {A} {B}",
    "a carriage return": f"m {A} {B} {C}\r",
    "a vertical tab": f"m {A} {B} {C}\x0bm {A} {B} {C}",
    "an empty line": "",
    "a NUL": f"m {A} {B} {'0' * 63}\0",
}


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Replayed]:
    made = Replayed(tmp_path / "build")
    made.root.mkdir()
    yield made
    made.stop()


def asked(build: Replayed, *known: str) -> tuple[dict[str, list[str]], list[str]]:
    """Return the writer's answer to BitBake's server, and the notes before it."""
    build.begin()
    assert build.process and build.process.stdin
    question = {"what": "equivalences", "known": list(known), "network": True}
    build.process.stdin.write(json.dumps(question).encode() + b"\n")
    build.process.stdin.flush()
    notes, word = [], build.word()
    while "note" in word:
        notes.append(word["note"])
        word = build.word()
    build.end()
    return word["equivalences"], notes


def published(tmp_path: Path, *lines: str, key: Path | None = None) -> Path:
    """Return a cache with equivalences published by another machine, optionally signed."""
    theirs = Replayed(tmp_path / "theirs")
    theirs.root.mkdir()
    record_lines(Store.create(theirs.root / ".prov"), lines)
    cache = tmp_path / "cache.git"
    signed = ["--key", str(key)] if key else []
    theirs.prov("remote", "add", "team", str(cache), "--push", *signed, "--store", ".prov")
    theirs.prov("push", "--all", "--store", ".prov")
    return cache


# trust


@pytest.mark.parametrize(
    ("trust", "signer", "used"),
    [
        ("keys", "allowed", True),
        ("keys", "other", False),
        ("keys", "", False),
        ("any-signed", "other", True),
        ("any-signed", "", False),
        ("none", "", True),
    ],
)
def test_trust_of_the_remote_decides(
    build: Replayed, tmp_path: Path, trust: str, signer: str, used: bool
) -> None:
    keys = Keys(tmp_path / "keys")
    cache = published(tmp_path, GOOD, key=getattr(keys, signer) if signer else None)
    signers = ["--signers", str(keys.signers)] if trust == "keys" else []
    build.prov("remote", "add", "team", str(cache), "--trust", trust, *signers, "--store", ".prov")
    lines, notes = asked(build)
    assert list(lines.values()) == ([[GOOD]] if used else [])
    assert bool(notes) == (not used)
    refs = build.git("for-each-ref", "refs/prov/output/bitbake")
    assert bool(refs) == used


# form and size


@pytest.mark.parametrize("line", BAD.values(), ids=BAD)
def test_malformed_line_is_ignored_and_reported(build: Replayed, tmp_path: Path, line: str) -> None:
    cache = published(tmp_path, GOOD, line)
    build.prov("remote", "add", "team", str(cache), "--trust", "none", "--store", ".prov")
    lines, notes = asked(build)
    ((name, used),) = lines.items()
    assert used == [GOOD]
    assert notes == [f"hash equivalences {name[:12]}: ignored 1 of 2 lines: malformed"]
    assert asked(build, name) == ({}, [])  # reported once


def test_huge_text_is_ignored_and_reported(build: Replayed, tmp_path: Path) -> None:
    store = Store.create(build.root / ".prov")
    record_lines(store, [GOOD])
    record_lines(store, [GOOD] * (LIMIT // len(GOOD) + 1))
    lines, notes = asked(build)
    assert sorted(lines.values()) == [[], [GOOD]]
    (name,) = (name for name, each in lines.items() if not each)
    assert notes == [f"hash equivalences {name[:12]}: ignored: larger than 16.8 MB"]


def test_lines_beyond_the_limit_are_read_by_the_next_build(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equivalence, "TOTAL", 5 * len(GOOD))
    for number in range(1, 4):
        record_lines(store, [GOOD.replace("Basic", f"Basic{number}")] * 2)
    first = equivalence.read_lines(store, set())
    assert len(first.by_build) == 2
    (note,) = first.notes
    assert note.endswith(": the next build reads the rest")
    second = equivalence.read_lines(store, set(first.by_build))
    assert len(second.by_build) == 1 and second.notes == []


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\n", b"\n" * 1000, b"x" * 100_000], ids=len)
def test_malformed_text_is_ignored(store: Store, data: bytes) -> None:
    record_lines(store, [data.decode("latin-1")])
    found = equivalence.read_lines(store, set())
    assert [*found.by_build.values()] == [[]]
    assert len(found.notes) == 1 and len(found.notes[0]) < 200
