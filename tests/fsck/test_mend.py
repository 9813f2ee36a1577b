"""The refs that need a decision, given the problems of a store's refs."""

from __future__ import annotations

import pytest

from prov.fsck.findings import Problem
from prov.fsck.mend import Damage, damage_of
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import BUILDS, LabelRef, RunRef
from prov.store.rawrefs import RawRefs

RUN = str(RunRef(TaskKey("zlib:compile"), TaskHash(bytes(20)), 1))
LABEL = str(LabelRef("a"))
NOTHING = Damage((), (), (), nameless=False, builds=False)


def damage(refs: RawRefs, *problems: Problem) -> Damage:
    return damage_of(refs, problems)


def test_intact_refs() -> None:
    assert damage(RawRefs(names={RUN: bytes(20)})) == NOTHING


def test_lost_runs_come_before_their_outputs() -> None:
    refs = RawRefs(broken={LABEL: "", RUN: ""})
    assert damage(refs).lost == (RUN, LABEL)


def test_invalid_names() -> None:
    refs = RawRefs(broken={"refs/tags/a..b": ""})
    assert damage(refs) == Damage((), (), ("refs/tags/a..b",), nameless=True, builds=False)


@pytest.mark.parametrize(
    ("problem", "wrong", "builds"),
    [
        (Problem("ref", RUN, "does not point to a task commit"), (RUN,), False),
        (Problem("ref", RUN, "has an unknown name", harmless=True), (), False),
        (Problem("ref", LABEL, "is not among the names"), (), False),
        (Problem("build", "00", "has an invalid list"), (), True),
        (Problem("cache", RUN, "can't be read"), (), False),
    ],
)
def test_problems(problem: Problem, wrong: tuple[str, ...], builds: bool) -> None:
    refs = RawRefs(names={RUN: bytes(20)})
    assert damage(refs, problem) == Damage((), wrong, (), nameless=False, builds=builds)


@pytest.mark.parametrize(
    "refs",
    [
        RawRefs(packed_wrong=["line 3 is no ref"]),
        RawRefs(broken={"refs/tags/no-name-of-ours": ""}),
        RawRefs(broken={"refs/tags/a b": ""}),
    ],
)
def test_names_may_be_lost(refs: RawRefs) -> None:
    assert damage(refs).nameless


def test_a_missing_history_is_searched() -> None:
    assert damage(RawRefs(), Problem("ref", BUILDS, "is missing")).nameless
