"""The answer of a bisection as text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prov.bisect.description import commits_of, describe
from prov.bisect.session import Answer
from prov.history.causes import SAME_INPUTS, CauseGroup
from prov.history.inputs import Change
from prov.records.ids import CommitId
from prov.records.keys import TaskKey
from prov.store.objects import MODE_FILE, Entry
from prov.store.repository import Store

BUILD = "build 0b0b0b0b0b0b"
KEY = TaskKey("app:compile")
FLAGS = CauseGroup(
    Change(
        "variable", "CFLAGS", Entry(b"", MODE_FILE, bytes(20)), Entry(b"", MODE_FILE, b"\1" * 20)
    ),
    (KEY,),
)
SAME = CauseGroup(Change(SAME_INPUTS, "", None, None), (KEY,))
ANSWER = Answer(
    good=CommitId(b"\x0a" * 20),
    bad=CommitId(b"\x0b" * 20),
    between=0,
    causes=(FLAGS,),
    earlier=(),
    tried=3,
    flaky=False,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.create(tmp_path_factory.mktemp("description") / "store.git")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (ANSWER, f"variable CFLAGS in app:compile broke it in {BUILD}"),
        (
            replace(ANSWER, causes=(SAME,)),
            f"a different output of app:compile from identical inputs broke it in {BUILD}",
        ),
        (
            replace(ANSWER, causes=()),
            f"{BUILD} is the first bad build; no recorded input change explains it",
        ),
        (
            replace(ANSWER, between=1),
            f"variable CFLAGS in app:compile broke it in {BUILD}, or the build before it that"
            " could not be judged",
        ),
        (
            replace(ANSWER, between=2, causes=()),
            f"{BUILD}, or one of the 2 builds before it that could not be judged, is the first bad"
            " build; no recorded input change explains it",
        ),
        (
            replace(ANSWER, earlier=(SAME,), unbuilt=1),
            f"variable CFLAGS in app:compile broke it in {BUILD}, together with a different"
            " output of app:compile from identical inputs; 1 combination could not be built, so"
            " fewer changes may be enough",
        ),
        (
            replace(ANSWER, causes=(FLAGS, SAME), isolated=False),
            f"{BUILD} is the first bad build; one or more of these broke it: variable CFLAGS in"
            " app:compile and a different output of app:compile from identical inputs",
        ),
    ],
)
def test_sentence(store: Store, answer: Answer, sentence: str) -> None:
    assert describe(store, answer) == sentence


@pytest.mark.parametrize(
    ("kind", "old", "new", "text"),
    [
        ("source", b"git aa\n", b"git bb\n", "aa..bb"),
        ("source", b"git aa\n", b"file\n", ""),
        ("variable", b"git aa\n", b"git bb\n", ""),
    ],
)
def test_commits(store: Store, kind: str, old: bytes, new: bytes, text: str) -> None:
    with store.objects.writer() as writer:
        entries = [Entry(b"", MODE_FILE, writer.add_blob(data)) for data in (old, new)]
        writer.finish()
    assert commits_of(store, CauseGroup(Change(kind, "a", *entries), (KEY,))) == text
