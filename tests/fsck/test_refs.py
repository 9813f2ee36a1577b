"""Problems of a ref, given its target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from prov.fsck.refs import TOOLCHAIN_MESSAGE, RefChecker, output_commit, run_of
from prov.records.build_list import record_build
from prov.records.ids import CommitId, StaticKey, TaskHash, TreeId
from prov.records.keys import TaskKey
from prov.records.output import Output
from prov.records.refs import (
    BUILDS,
    DEPLOYED,
    LabelRef,
    OutputRef,
    OutsideRef,
    PinRef,
    Ref,
    RunRef,
    SingleRef,
    StaticRef,
    ToolchainRef,
    WorkdirRef,
)
from prov.records.run import Run, RunIds, author, empty_start, write_run
from prov.store.objects import CONSTANT_IDENTITY, EMPTY_TREE, Commit, Oid
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY

KEY = TaskKey("zlib:compile")
HASH = TaskHash(EMPTY_TREE)
BY = author(1)


class Lab:
    """A store with a run, a failed run and a build."""

    def __init__(self, path: Path) -> None:
        self.store = Store.create(path)
        self.run = self.record(Output(EMPTY))
        self.failed = self.record(None)
        self.build = record_build(self.store, [], {}, {}, BY)
        self.toolchain = self.commit(TOOLCHAIN_MESSAGE)

    def record(
        self,
        output: Output | None,
        key: TaskKey = KEY,
        facts: Mapping[str, str] | None = None,
        definition: bytes = b"",
    ) -> RunIds:
        with self.store.objects.writer() as writer:
            start = empty_start(writer)
            run = Run(
                key, HASH, start, EMPTY, output, b"log", {}, facts or {}, definition=definition
            )
            ids = write_run(writer, run, BY)
            writer.finish()
        return ids

    def commit(self, message: str, parents: tuple[Oid, ...] = ()) -> CommitId:
        with self.store.objects.writer() as writer:
            commit = Commit(EMPTY_TREE, parents, CONSTANT_IDENTITY, message)
            oid = writer.add_commit(commit)
            writer.finish()
        return CommitId(oid)

    def wrong(self, ref: Ref, oid: Oid) -> str:
        return RefChecker(self.store.objects).wrong(ref, oid)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("refs") / "store.git")


RUN = RunRef(KEY, HASH, 1)
FAILED = replace(RUN, failed=True)


def test_valid_refs(lab: Lab) -> None:
    for ref, oid in (
        (RUN, lab.run.commit),
        (FAILED, lab.failed.commit),
        (RUN.record, lab.run.record),
        (OutputRef(KEY, HASH), lab.run.output_commit),
        (StaticRef(KEY, StaticKey(bytes(20))), lab.run.output_commit),
        (ToolchainRef(TreeId(EMPTY_TREE)), lab.toolchain),
        (SingleRef(BUILDS), lab.build),
        (LabelRef("release"), lab.build),
        (PinRef(lab.build), lab.build),
        (WorkdirRef("x86_64", "zlib", "build"), lab.run.commit),
        (OutsideRef("x86_64", "zlib", "build", 1), lab.run.commit),
    ):
        assert lab.wrong(ref, oid) == "", ref


def test_refs_with_wrong_targets(lab: Lab) -> None:
    other = TaskHash(b"\1" * 20)
    for ref, oid, problem in (
        (RUN, lab.run.record, "does not point to a task commit"),
        (RUN, bytes(20), "is unreadable"),
        (RUN, lab.failed.commit, "without an output"),
        (FAILED, lab.run.commit, "its record has an output"),
        (replace(RUN, task_hash=other), lab.run.commit, "a record with the wrong task hash"),
        (
            replace(RUN, key=TaskKey("app:image")),
            lab.run.commit,
            "a record with the wrong task zlib",
        ),
        (RUN.record, lab.run.commit, "a record without"),
        (OutputRef(KEY, HASH), lab.run.record, "does not point to an output commit"),
        (ToolchainRef(TreeId(other)), lab.toolchain, "does not point to the host toolchain"),
        (SingleRef(BUILDS), lab.run.commit, "does not point to a build"),
        (SingleRef(DEPLOYED), lab.build, "does not point to a state of the deploy directory"),
        (LabelRef("release"), lab.run.commit, "does not point to a build"),
        (PinRef(lab.run.commit), lab.build, "does not point to the build in its name"),
        (OutsideRef("x86_64", "zlib", "build", 1), lab.run.record, "point to a WORKDIR commit"),
    ):
        assert problem in lab.wrong(ref, oid), ref


def test_definitions(lab: Lab) -> None:
    invalid = lab.record(Output(EMPTY), definition=b"{}")
    assert "has an invalid definition: " in lab.wrong(RUN, invalid.commit)
    newer = lab.record(Output(EMPTY), definition=b'{"format": 2}')
    assert lab.wrong(RUN, newer.commit) == ""


def test_an_output_that_no_run_had(lab: Lab) -> None:
    with_script = lab.record(Output(EMPTY, postprocess=b"true\n"))
    output = str(OutputRef(KEY, HASH))
    refs: dict[str, Oid] = {output: with_script.output_commit, str(RUN): lab.run.commit}
    (problem,) = RefChecker(lab.store.objects).check(refs)
    assert (problem.where, "any recorded run" in problem.what) == (output, True)
    refs[str(replace(RUN, number=2))] = with_script.commit
    assert not list(RefChecker(lab.store.objects).check(refs))


@pytest.mark.parametrize("fact", ["aside", "incremental"])
def test_runs_whose_outputs_replace_no_other(lab: Lab, fact: str) -> None:
    scratch = lab.record(Output(EMPTY, postprocess=b"false\n"), facts={fact: "1"})
    output = str(OutputRef(KEY, HASH))
    refs: dict[str, Oid] = {output: lab.run.output_commit, str(RUN): scratch.commit}
    assert not list(RefChecker(lab.store.objects).check(refs))


def test_refs_of_users(lab: Lab) -> None:
    (own,) = RefChecker(lab.store.objects).check({"refs/tags/v1": lab.build})
    assert own.harmless
    (lost,) = RefChecker(lab.store.objects).check({"refs/tags/v1": lab.run.commit})
    assert not lost.harmless
    refs = {"refs/tags/v1": lab.run.commit, str(RUN): lab.run.commit}
    (second,) = RefChecker(lab.store.objects).check(refs)
    assert second.harmless


def test_the_tag_in_a_runs_message(lab: Lab) -> None:
    assert run_of(lab.store.objects, lab.run.commit) == RUN
    assert run_of(lab.store.objects, lab.failed.commit) == FAILED
    for oid in (lab.run.record, lab.build, bytes(20)):
        assert run_of(lab.store.objects, oid) is None


def test_an_output_has_one_commit(lab: Lab) -> None:
    commit = lab.store.objects.commit(lab.run.output_commit)
    assert output_commit(commit) == commit
    assert output_commit(replace(commit, author=BY, parents=(bytes(20),))) == commit
