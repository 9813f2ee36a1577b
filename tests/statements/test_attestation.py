"""An attestation lists all inputs and files of a record, no secrets, and is reproducible."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prov.errors import FORGET_RUN, NameUnknown, ProvError, StoreError
from prov.history.names import RunName
from prov.records.ids import CommitId, TaskHash
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.records.refs import RunRef
from prov.statements.attestation import Artifact, Evidence, encode, is_uri, statement
from prov.statements.record_reader import attested_run, public_address, read_evidence
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry, object_id
from prov.tasks.definition import Definition
from prov.worktree.attributes import walk
from prov.wrapped.run import capture_as, run_as
from prov.wrapped.step import CommandStep
from tests.history.tiny import Tiny

CHECKSUM, COMMIT = "ab" * 32, "cd" * 20
LIB = """
version = '1.5'
build = ['make', 'give']
sources = [{ file = 'lib.txt' }, { file = 'folder' }]
[variables]
GREETING = 'hello ${WHOM}'
WHOM = 'world'
UNUSED = 'not reached'
[functions]
speak = 'cat sources/lib.txt'
[tasks.make]
inputs = ['sources']
outputdir = 'out'
hosttools = ['ln']
script = '''mkdir -p out/bin
speak > out/bin/lib; echo "$GREETING" > out/text; ln -s text out/link; : > out/empty'''
[tasks.give]
after = ['make']
outputdir = ['out', 'more']
script = 'cp out/text more/again'
[tasks.nothing]
after = ['make']
script = 'true'
"""
APP = """
version = '2'
build = ['make']
[tasks.make]
from = ['lib:make']
needs = ['lib:give']
outputdir = 'all'
script = 'cp out/text all/text; echo done'
"""
TEXTS = {"lib.toml": LIB, "lib.txt": "of the source\n", "folder/a": "a\n", "app.toml": APP}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    made = Tiny(tmp_path_factory.mktemp("attestation"))
    made.build(TEXTS, "app", "lib", "lib:nothing")
    return made


def attest(tiny: Tiny, name: str, build: str = "", builder: str = "") -> dict[str, Any]:
    run, _ = attested_run(tiny.store, name, build)
    return statement(read_evidence(tiny.store, run), builder=builder)


def digests(rows: list[dict[str, Any]]) -> dict[str, Mapping[str, str]]:
    assert len({row["name"] for row in rows}) == len(rows)
    return {row["name"]: row["digest"] for row in rows}


def inputs(table: dict[str, Any]) -> dict[str, Mapping[str, str]]:
    return digests(table["predicate"]["buildDefinition"]["resolvedDependencies"])


def external(table: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = table["predicate"]["buildDefinition"]["externalParameters"]
    return found


def of_bytes(data: bytes) -> dict[str, str]:
    return {"gitBlob": object_id("blob", data).hex(), "sha256": hashlib.sha256(data).hexdigest()}


def test_subjects_are_the_output_and_each_regular_file_in_it(tiny: Tiny) -> None:
    subjects = digests(attest(tiny, "lib:make")["subject"])
    line = tiny.latest().line(TaskKey("lib:make"))
    assert line is not None and line.output is not None
    assert subjects.pop("lib:make") == {"gitTree": line.output.hex()}
    objects = tiny.store.objects
    files = {
        os.fsdecode(path): {"sha256": hashlib.sha256(objects.blob(node.oid)).hexdigest()}
        for path, node in walk(objects, read_pair(objects, line.output))
        if node.oid and path != b"out/link"
    }
    assert subjects == files
    assert subjects["out/bin/lib"] == {"sha256": hashlib.sha256(b"of the source\n").hexdigest()}
    assert set(subjects) == {"out/bin/lib", "out/text", "out/empty"}


def test_dependencies_are_all_inputs_except_variables(tiny: Tiny) -> None:
    table = attest(tiny, "lib:make")
    found = inputs(table)
    assert set(found) == {
        "functions/speak",
        "host-toolchain",
        "script",
        "sources/%order",
        "sources/folder",
    } | {
        "sources/lib.txt",
        "task",
    }
    assert found["sources/lib.txt"] == of_bytes(b"of the source\n")
    assert found["functions/speak"] == of_bytes(b"cat sources/lib.txt")
    assert list(found["sources/folder"]) == list(found["host-toolchain"]) == ["gitTree"]
    assert external(table) == {
        "target": "lib:make",
        "recipe": "lib",
        "task": "make",
        "version": "1.5",
        "architecture": os.uname().machine,
        "variables": {"GREETING": "hello ${WHOM}", "WHOM": "world"},
        "environment": [],
        "excluded": [],
    }


def test_an_input_matches_the_subject_of_its_attestation(tiny: Tiny) -> None:
    found = inputs(attest(tiny, "app:make"))
    for kind, key in (("from", "lib:make"), ("needs", "lib:give")):
        assert found[f"{kind}/{key}"] == digests(attest(tiny, key)["subject"])[key]


def test_a_file_with_path_tokens_is_annotated(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path)
    tiny.build(
        {
            "a.toml": (
                "version='1'\nbuild=['go']\n[tasks.go]\noutputdir='out'\nscript='pwd > out/here'\n"
            )
        },
        "a",
    )
    here = attest(tiny, "a")["subject"][1]
    digest = hashlib.sha256(b"@PROV:WORKDIR@\n").hexdigest()
    assert here == {
        "name": "out/here",
        "digest": {"sha256": digest},
        "annotations": {"fixme": "text:W"},
    }


def test_a_predecessor_is_its_task_hash_and_its_workdir(tiny: Tiny) -> None:
    table, line = attest(tiny, "lib:give"), tiny.latest().line(TaskKey("lib:make"))
    run, _ = attested_run(tiny.store, "lib:make")
    assert line is not None
    assert inputs(table)["after/make"] == {"gitTree": line.task_hash.hex()}
    assert inputs(table)["workdir"] == {"gitCommit": run.commit.hex()}
    assert "workdir" not in inputs(attest(tiny, "lib:make"))


def test_run_details_are_those_of_the_record(tiny: Tiny) -> None:
    run, _ = attested_run(tiny.store, "app:make")
    table = attest(tiny, "app:make")["predicate"]
    details, internal = table["runDetails"], table["buildDefinition"]["internalParameters"]
    assert details["builder"]["id"] == f"urn:prov:builder:{os.uname().nodename}:no-sandbox"
    assert details["metadata"]["invocationId"] == run.commit.hex()
    assert details["metadata"]["startedOn"] <= details["metadata"]["finishedOn"]
    assert digests(details["byproducts"]) == {"log": of_bytes(b"done\n")}
    assert (internal["taskHash"], internal["tag"]) == (run.task_hash.hex(), run.tag)
    assert (internal["sandbox"], internal["network"], internal["incremental"]) == (
        "none",
        False,
        False,
    )
    named = attest(tiny, "app:make", builder="https://builds.example.org/a")["predicate"]
    assert named["runDetails"]["builder"]["id"] == "https://builds.example.org/a"


def test_same_record_gives_the_same_bytes(tiny: Tiny) -> None:
    first = encode(attest(tiny, "lib:make"))
    assert encode(attest(Tiny(tiny.root), attested_run(tiny.store, "lib:make")[0].tag)) == first
    assert (
        encode(attest(tiny, "lib:make", "latest"))
        == first
        == encode(attest(tiny, "latest/lib:make"))
    )
    assert (
        first
        == json.dumps(json.loads(first), sort_keys=True, separators=(",", ":")).encode() + b"\n"
    )


@pytest.mark.parametrize("name", ["lib:make", "lib:give", "app:make"])
def test_in_toto_types_accept_it(tiny: Tiny, name: str) -> None:
    pytest.importorskip("in_toto_attestation")
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    text = encode(attest(tiny, name))
    read = Statement.copy_from_pb(json_format.Parse(text, Message()))
    read.validate()
    assert read.pb.predicate_type == "https://slsa.dev/provenance/v1"
    provenance = json_format.Parse(json_format.MessageToJson(read.pb.predicate), Provenance())
    for each in (
        *provenance.build_definition.resolved_dependencies,
        *provenance.run_details.byproducts,
    ):
        ResourceDescriptor.copy_from_pb(each).validate()
    assert provenance.build_definition.build_type == "urn:prov:task:v1"
    assert provenance.run_details.metadata.started_on.ToMilliseconds() > 0
    # the round trip is lossless
    assert json_format.MessageToDict(provenance) == json.loads(text)["predicate"]


# the run


def test_a_recipe_alone_is_the_builds_target(tiny: Tiny) -> None:
    assert attested_run(tiny.store, "app")[0].key == "app:make"
    with pytest.raises(NameUnknown, match="lib is not a task") as caught:
        attested_run(tiny.store, "lib")
    assert caught.value.hint == "use one of lib:give, lib:make"
    with pytest.raises(NameUnknown, match="has no recipe lob") as caught:
        attested_run(tiny.store, "lob")
    assert caught.value.hint == "did you mean lib?"


def test_an_empty_output_is_rejected(tiny: Tiny) -> None:
    with pytest.raises(ProvError, match="cannot attest lib:nothing: its output is empty"):
        attest(tiny, "lib:nothing")


def test_a_failed_run_is_rejected_with_a_hint_for_an_earlier_one(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path)
    tiny.build(TEXTS, "app")
    good = encode(attest(tiny, "app"))
    tiny.build({**TEXTS, "app.toml": APP.replace("echo done", "exit 3")}, "app", ok=False)
    with pytest.raises(ProvError, match="cannot attest app:make: the run failed") as caught:
        attest(tiny, "app:make")
    assert "--build" in caught.value.hint
    assert encode(attest(tiny, "app:make", "latest~1")) == good


def test_a_command_without_a_recipe(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path / "project")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("text")
    captured = capture_as(tiny.store, folder, CommandStep.parse("a:captured"))
    step = CommandStep.parse("a:ran", build="one", outputs=["out"])
    command = ["sh", "-c", "mkdir out; cp file out"]
    environment = {"CFLAGS": "-O2", "SECRET": "x"}
    run_as(tiny.store, folder, step, command, environment, lambda _: None)
    predicate = attest(tiny, "a:ran")["predicate"]
    definition = predicate["buildDefinition"]
    assert definition["buildType"] == "urn:prov:command:v1"
    assert definition["externalParameters"] == {
        "target": "a:ran",
        "recipe": "a",
        "task": "ran",
        "environment": ["CFLAGS"],
        "command": shlex.join(command),
        "outputs": ["out"],
    }
    assert predicate["runDetails"]["builder"]["id"].endswith(":no-sandbox")
    start = tiny.store.objects.commit(captured.commit).tree.hex()
    assert {"name": "start", "digest": {"gitTree": start}} in definition["resolvedDependencies"]
    subjects = attest(tiny, "a:ran")["subject"]
    assert [subject["name"] for subject in subjects] == ["a:ran", "out/file"]
    assert "SECRET" not in str(attest(tiny, "a:ran"))
    capture = attest(tiny, "a:captured")["predicate"]["buildDefinition"]
    assert capture["externalParameters"]["command"] == ""


def test_a_record_of_a_different_task_is_rejected(tiny: Tiny) -> None:
    run, other = attested_run(tiny.store, "lib:make")[0], attested_run(tiny.store, "lib:give")[0]
    refs = [replace(run.ref, key=other.key), replace(run.ref, task_hash=other.task_hash)]
    for wrong in [replace(run, ref=ref) for ref in refs]:
        with pytest.raises(StoreError, match="belongs to a different task"):
            read_evidence(tiny.store, wrong)


@pytest.mark.parametrize(
    ("folder", "name", "text", "said"),
    [
        ("from", "b:go", "zz\n", "from/b:go is not an id"),
        ("after", "x", "", "after/x is not an id"),
        ("", "host-toolchain", "0" * 40, "host-toolchain is not an id"),
        ("", "incremental", f"{'A' * 40}\n", "incremental is not an id"),
        ("sources", "x.tar", "sha256 00\n", "sources/x.tar is not a checksum"),
        ("sources", "x.tar", f"git {'0' * 40}\nmore", "sources/x.tar is not a checksum"),
    ],
)
def test_an_invalid_record_is_rejected(
    tiny: Tiny, folder: str, name: str, text: str, said: str
) -> None:
    run = with_input(tiny, attested_run(tiny.store, "app:make")[0], folder, name, text.encode())
    with pytest.raises(StoreError, match=said) as caught:
        read_evidence(tiny.store, run)
    assert caught.value.hint == FORGET_RUN


def with_input(tiny: Tiny, run: RunName, folder: str, name: str, text: bytes) -> RunName:
    """Return a run with a changed text among its inputs."""
    objects = tiny.store.objects
    with objects.writer() as writer:
        entry = Entry(name.encode(), MODE_FILE, writer.add("blob", text))
        if folder:
            entry = Entry(folder.encode(), MODE_DIRECTORY, writer.add_tree([entry]))
        others = [each for each in objects.tree(run.task_hash) if each.name != entry.name]
        inputs = writer.add_tree([*others, entry])
        held = objects.commit(run.commit)
        record = objects.commit(held.parents[1])
        rest = [each for each in objects.tree(record.tree) if each.name != b"inputs"]
        changed = replace(
            record, tree=writer.add_tree([*rest, Entry(b"inputs", MODE_DIRECTORY, inputs)])
        )
        commit = writer.add_commit(
            replace(held, parents=(held.parents[0], writer.add_commit(changed)))
        )
    ref = replace(run.ref, task_hash=TaskHash(inputs))
    return replace(run, ref=ref, commit=CommitId(commit))


# sources from elsewhere


def test_pinned_sources_have_checksum_and_address_without_secrets(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path)
    address = "https://user:pass@Example.org/a b/one.tar.gz?token=1"
    recipe = f"""
version = '1'
build = ['go']
sources = [
    {{ url = '{address}', name = 'one.tar.gz', sha256 = '{CHECKSUM}' }},
    {{ git = 'ssh://git@example.org/two.git', commit = '{COMMIT}', name = 'two' }},
    {{ git = '/home/somebody/three', commit = '{COMMIT}' }},
    {{ file = 'four', sha256 = '{hashlib.sha256(b"4").hexdigest()}' }},
]
[variables]
STAMP = 'secret'
[tasks.go]
inputs = ['sources']
outputdir = 'out'
vardepsexclude = ['STAMP']
script = 'echo "$SOURCES $STAMP" > out/list'
"""
    tiny.build({"a.toml": recipe, "four": "4"}, "a")
    table = attest(tiny, "a")
    rows = {
        row["name"]: row for row in table["predicate"]["buildDefinition"]["resolvedDependencies"]
    }
    one = {"digest": {"sha256": CHECKSUM}, "uri": "https://example.org/a%20b/one.tar.gz"}
    two = {"digest": {"gitCommit": COMMIT}, "uri": f"git+ssh://example.org/two.git@{COMMIT}"}
    assert rows["sources/one.tar.gz"] == {"name": "sources/one.tar.gz", **one}
    assert rows["sources/two"] == {"name": "sources/two", **two}
    assert rows["sources/three"] == {"name": "sources/three", "digest": {"gitCommit": COMMIT}}
    assert rows["sources/four"] == {
        "name": "sources/four",
        "digest": {"sha256": hashlib.sha256(b"4").hexdigest()},
    }
    assert (external(table)["variables"], external(table)["excluded"]) == ({}, ["STAMP"])
    text = encode(table)
    assert not any(word in text for word in (b"pass", b"token", b"somebody", b"secret"))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("HTTPS://Host:8080/x#part", "https://host:8080/x"),
        ("git://host/x", "git://host/x"),
        ("https://a@b:c@host/x;y", "https://host/x;y"),
        ("https://host/\udcff", ""),
        ("https://ho st/x", ""),
        ("https://[::1/x", ""),
        ("git@host:x", ""),
        ("file:///home/x", ""),
        ("", ""),
    ],
)
def test_an_address_has_no_possible_secrets(url: str, address: str) -> None:
    assert public_address(url) == address


# the pure part


def evidence(**changes: Any) -> Evidence:
    facts = {"began": "1700000000.25", "seconds": "1.5", "sandbox": "bwrap", "host": "höst 1"}
    task = {"network": False}
    definition = Definition("1", "target", "x", "c", (), (), (), (), (), task, (), {}, {}, ())
    ref = RunRef(TaskKey("a:b"), TaskHash(bytes(20)), 1)
    run = RunName(ref, CommitId(b"\1" * 20), seconds=0)
    made = Evidence(run, facts, definition, {}, (), (Artifact("a:b", {"gitTree": "00"}),), (), ())
    return replace(made, **changes)


def test_times_are_utc_and_the_host_is_a_part_of_the_urn() -> None:
    details = statement(evidence())["predicate"]["runDetails"]
    assert details["metadata"]["startedOn"] == "2023-11-14T22:13:20.250Z"
    assert details["metadata"]["finishedOn"] == "2023-11-14T22:13:21.750Z"
    assert details["builder"]["id"] == "urn:prov:builder:h%C3%B6st%201"
    assert is_uri(details["builder"]["id"])


@pytest.mark.parametrize("began", ["", "nan", "inf", "1e300", "yesterday"])
def test_a_record_without_times_is_rejected(began: str) -> None:
    with pytest.raises(StoreError, match="has no valid start and end times"):
        statement(evidence(facts={**evidence().facts, "began": began}))


def test_a_record_without_a_host_requires_a_builder() -> None:
    nameless = evidence(facts={"began": "1", "seconds": "1"})
    with pytest.raises(ProvError, match="names no host") as caught:
        statement(nameless)
    assert "--builder-id" in caught.value.hint
    assert (
        statement(nameless, builder="urn:x:y")["predicate"]["runDetails"]["builder"]["id"]
        == "urn:x:y"
    )


def test_invalid_unicode_is_escaped() -> None:
    odd = evidence(
        subjects=(Artifact(os.fsdecode(b"a\xff\xc3\xa9"), {"sha256": "00"}),),
        variables={"A": "\ud800"},
    )
    table = json.loads(encode(statement(odd)).decode("utf-8"))
    assert table["subject"][0]["name"] == "a\\udcffé"
    assert external(table)["variables"] == {"A": "\\ud800"}


def test_empty_annotations_and_addresses_are_omitted() -> None:
    assert Artifact("a", {"sha256": "0"}).table() == {"name": "a", "digest": {"sha256": "0"}}
    full = Artifact("a", {"sha256": "0"}, "https://x/", {"fixme": "text:S"}).table()
    assert (full["uri"], full["annotations"]) == ("https://x/", {"fixme": "text:S"})


@pytest.mark.parametrize("text", ["", "x", "no uri", "HTTP://x", "https://x y", "urn:a:é", "a:b\n"])
def test_a_builder_must_be_a_uri(text: str) -> None:
    assert not is_uri(text)
