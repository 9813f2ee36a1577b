"""Choose published records that both sides have."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.remote.bases import BASES, choose_bases, write_record_commits
from prov.remote.index import Index, Listed
from prov.remote.publication import Publication, Published, record_commit
from prov.store.objects import object_id
from prov.store.odb import ObjectDatabase
from prov.transport.git import make_scratch


def published(key: str, number: int) -> Published:
    return Published(
        TaskKey(key),
        TaskHash(number.to_bytes(20, "big")),
        StaticKey(bytes(20)),
        OutputId(bytes(20)),
        number.to_bytes(20, "little"),
        bytes(32),
    )


@pytest.fixture
def index(tmp_path: Path) -> Index:
    """An index of twenty publications of two recipes."""
    index = Index(tmp_path / "index")
    with index.changing(clear=True):
        for number in range(1, 21):
            key = "words:make" if number % 2 else "app:pack"
            publication = Publication(number, (published(key, number),))
            index.add(Listed(number, bytes(20), number, "", ""), publication)
    return index


def test_the_newest_of_the_same_recipe_come_first(index: Index) -> None:
    bases = choose_bases(index, [published("words:go", 99)], lambda _task: True)
    assert bases == [published("words:make", number).record for number in (19, 17, 15, 13)]
    assert len(bases) == BASES


def test_missing_and_requested_records_are_not_bases(index: Index) -> None:
    task = published("words:make", 19)
    missing = published("words:make", 17)
    bases = choose_bases(index, [task], lambda other: other.record != missing.record)
    assert bases == [published("words:make", number).record for number in (15, 13, 11, 9)]
    assert choose_bases(index, [published("else:go", 99)], lambda _task: True) == []


def test_commits_of_records_are_written_without_the_records(tmp_path: Path) -> None:
    repository = make_scratch(tmp_path / "git")
    trees = [b"a" * 20, b"b" * 20]
    commits = write_record_commits(repository, trees)
    assert commits == [object_id("commit", record_commit(tree).encode()) for tree in trees]
    assert ObjectDatabase(repository).commit(commits[0]).tree == trees[0]
