"""Tests of building, parsing and documenting ref names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.records.ids import CommitId, StaticKey, TaskHash, TreeId
from prov.records.keys import TaskKey
from prov.records.refs import (
    BUILDS,
    DEPLOYED,
    DEPLOYING,
    FORMS,
    CleanedRef,
    DirectoryRef,
    LabelRef,
    OutputRef,
    OutsideRef,
    PinRef,
    RecordRef,
    Ref,
    RunRef,
    ScratchRef,
    SingleRef,
    StaticRef,
    ToolchainRef,
    WorkdirRef,
    parse_ref,
    parse_run,
)
from tests.records.test_keys import names

TOP = Path(__file__).parents[2]
HASH = "0123456789abcdef0123456789abcdef01234567"
OID = bytes.fromhex(HASH)
ZLIB = TaskKey("zlib:compile")

oids = st.binary(min_size=20, max_size=20)
numbers = st.integers(min_value=1, max_value=10**6)
recipes = names.filter(lambda name: name not in ("failed", "outside"))
keys = st.builds(TaskKey.of, recipes, names)
hashes = oids.map(TaskHash)
refs: st.SearchStrategy[Ref] = st.one_of(
    st.builds(RunRef, keys, hashes, numbers, st.booleans()),
    st.builds(RecordRef, keys, hashes, numbers),
    st.builds(OutsideRef, names, names, names, numbers),
    st.builds(OutputRef, keys, hashes),
    st.builds(StaticRef, keys, oids.map(StaticKey)),
    st.builds(CleanedRef, keys, oids),
    st.builds(WorkdirRef, names.filter(lambda name: name != "plain"), names, names),
    st.builds(DirectoryRef, oids),
    st.builds(ScratchRef, names, names, names, names),
    st.builds(ToolchainRef, oids.map(TreeId)),
    st.builds(LabelRef, names),
    st.builds(PinRef, oids.map(CommitId)),
    st.sampled_from([SingleRef(BUILDS), SingleRef(DEPLOYED), SingleRef(DEPLOYING)]),
)


@given(refs)
def test_built_names_are_parsed(ref: Ref) -> None:
    assert parse_ref(str(ref)) == ref


@given(st.text(alphabet="refs/tagprovoutling0a1:", max_size=60))
def test_parsed_names_are_built_again(name: str) -> None:
    ref = parse_ref(f"refs/{name}")
    assert ref is None or str(ref) == f"refs/{name}"


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        (f"refs/tags/zlib/compile/{HASH}/3", RunRef(ZLIB, TaskHash(OID), 3)),
        (f"refs/tags/failed/zlib/compile/{HASH}/1", RunRef(ZLIB, TaskHash(OID), 1, failed=True)),
        ("refs/tags/outside/x86_64/zlib/build/2", OutsideRef("x86_64", "zlib", "build", 2)),
        (f"refs/prov/record/zlib/compile/{HASH}/3", RecordRef(ZLIB, TaskHash(OID), 3)),
        (f"refs/prov/output/zlib/compile/{HASH}", OutputRef(ZLIB, TaskHash(OID))),
        (f"refs/prov/static/zlib/compile/{HASH}", StaticRef(ZLIB, StaticKey(OID))),
        (f"refs/prov/cleaned/zlib/compile/{HASH}", CleanedRef(ZLIB, OID)),
        ("refs/prov/workdir/x86_64/zlib/build", WorkdirRef("x86_64", "zlib", "build")),
        (f"refs/prov/workdir/plain/{HASH}", DirectoryRef(OID)),
        ("refs/prov/aside/7/x86_64/zlib/build", ScratchRef("7", "x86_64", "zlib", "build")),
        (f"refs/prov/toolchain/{HASH}", ToolchainRef(TreeId(OID))),
        ("refs/prov/label/v1.0", LabelRef("v1.0")),
        (f"refs/prov/pin/{HASH}", PinRef(CommitId(OID))),
        ("refs/heads/builds", SingleRef(BUILDS)),
        ("refs/prov/deployed", SingleRef(DEPLOYED)),
        ("refs/prov/deploying", SingleRef(DEPLOYING)),
    ],
)
def test_names(name: str, ref: Ref) -> None:
    assert str(ref) == name
    assert parse_ref(name) == ref


@pytest.mark.parametrize(
    "name",
    [
        "",
        "HEAD",
        "refs/heads/main",
        "refs/tags/v1.0",
        f"refs/tags/zlib/compile/{HASH}",
        f"refs/tags/zlib/compile/{HASH}/0",
        f"refs/tags/zlib/compile/{HASH}/01",
        f"refs/tags/zlib/compile/{HASH}/{'9' * 5000}",
        f"refs/tags/zlib/compile/{HASH.upper()}/1",
        f"refs/tags/zlib//{HASH}/1",
        f"refs/tags/failed/compile/{HASH}/1",
        f"refs/tags/outside/compile/{HASH}/1",
        f"refs/prov/output/zlib/compile/{HASH}/1",
        f"refs/prov/output/zlib/compile/{HASH[1:]}",
        f"refs/prov/output//compile/{HASH}",
        "refs/prov/workdir/plain/x",
        "refs/prov/workdir/plain/zlib/build",
        "refs/prov/toolchain/x",
        "refs/prov/label/",
        "refs/prov/unknown",
        "refs/prov/deployed/x",
    ],
)
def test_other_names_are_not_prov_s(name: str) -> None:
    assert parse_ref(name) is None


def test_the_names_of_a_run() -> None:
    run = RunRef(ZLIB, TaskHash(OID), 3)
    assert run.tag == f"zlib/compile/{HASH}/3"
    assert run.prefix == f"refs/tags/zlib/compile/{HASH}"
    assert str(run.record) == f"refs/prov/record/zlib/compile/{HASH}/3"
    assert run.record.run == run
    assert parse_run(str(run)) == run
    assert parse_run(str(run.record)) is None


def test_the_documentation_lists_the_same_names() -> None:
    page = (TOP / "docs" / "store.md").read_text()
    section = page[page.index("\n## Refs\n") : page.index("\n## Builds\n")]
    rows = re.findall(r"^\| `(refs/[^`]+)` \|", section, re.MULTILINE)
    assert sorted(rows) == sorted(FORMS)
