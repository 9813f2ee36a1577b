"""Names that git resolves stand for the same objects here."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from prov.records.revisions import find_commit, find_object
from prov.store.objects import EMPTY_TREE, Commit, Identity, Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from tests.conftest import Git

NAMES = (
    "zlib/make/1",
    "refs/tags/zlib/make/1",
    "tags/zlib/make/1",
    "builds",
    "heads/builds",
    "HEAD",
    "prov/deployed",
    "both",
    "heads/both",
    "annotated",
    "builds~1",
    "builds^{tree}",
    "builds:",
    "unknown",
    "zlib",
    "@",
    "-",
    "",
    "a b",
    "refs/",
    "0000",
)


@pytest.fixture
def commits(store: Store, git: Git) -> list[Oid]:
    with store.objects.writer() as writer:
        first = writer.add_commit(Commit(EMPTY_TREE, (), Identity("t", "t@t", 1), "1\n"))
        second = writer.add_commit(Commit(EMPTY_TREE, (first,), Identity("t", "t@t", 2), "2\n"))
    names = ("refs/tags/zlib/make/1", "refs/tags/both", "refs/prov/deployed")
    store.refs.update(*(RefUpdate(name, first) for name in names))
    store.refs.update(*(RefUpdate(f"refs/heads/{name}", second) for name in ("both", "builds")))
    git("-c", "user.name=t", "-c", "user.email=t@t", "tag", "-a", "-m", "x", "annotated", "builds")
    return [first, second]


def by_git(git: Git, expression: str) -> Oid | None:
    text = git("rev-parse", "--verify", "--quiet", "--end-of-options", expression, check=False)
    match = re.fullmatch(r"([0-9a-f]{40})\n", text)
    return bytes.fromhex(match[1]) if match else None


@pytest.mark.parametrize("packed", [False, True])
def test_names_have_the_objects_that_git_finds(
    store: Store, git: Git, commits: list[Oid], packed: bool
) -> None:
    if packed:
        store.refs.pack(at_once=True)
    ids = [oid.hex() for oid in (*commits, EMPTY_TREE)]
    short = [digits[:length] for digits in ids for length in (4, 7, 39)]
    for name in (*NAMES, *ids, *short, ids[0].upper(), "12" * 20):
        assert find_object(store, name) == by_git(git, f"{name}^{{object}}"), name
        assert find_commit(store, name) == by_git(git, f"{name}^{{commit}}"), name


def test_loose_objects_have_abbreviations(store: Store, git: Git, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    oid = git("hash-object", "-w", str(tmp_path / "file")).strip()
    assert find_object(store, oid[:6]) == bytes.fromhex(oid)


def test_an_ambiguous_abbreviation_is_not_a_name(store: Store, git: Git) -> None:
    ids: dict[str, str] = {}
    with store.objects.writer() as writer:
        for number in range(3000):
            oid = writer.add("blob", b"%d" % number).hex()
            other = ids.setdefault(oid[:4], oid)
            if other != oid:
                break
    assert other != oid
    assert find_object(store, oid[:4]) is None
    assert find_object(store, oid[:20]) == bytes.fromhex(oid)


def test_common_names_start_no_process(
    store: Store, commits: list[Oid], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fork", None)
    monkeypatch.setattr("prov.records.revisions.run_git", None)
    for name in ("zlib/make/1", "builds", commits[0].hex(), commits[1].hex()[:9]):
        assert find_object(store, name) in commits
