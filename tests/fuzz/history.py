"""Parsers of prov/history: names given by users, logs, evidence, keys, addresses."""

from __future__ import annotations

import base64
import json
from contextlib import closing
from functools import cache
from typing import Any

from hypothesis import strategies as st

from prov.bisect.log import Log
from prov.errors import ProvError
from prov.history.builds import find_build, is_build_name
from prov.history.directories import find_directory
from prov.history.file_names import find_file
from prov.history.file_versions import blame_lines
from prov.history.names import RunName, find_run, last_run
from prov.query.runs import RunLine
from prov.query.schema import LAZY
from prov.query.table_file import make_in_memory
from prov.records.build_list import Line, record_build
from prov.records.ids import CommitId, TaskHash
from prov.records.keys import TaskKey
from prov.records.labels import set_label
from prov.records.lookup import new_run
from prov.records.output import Output
from prov.records.refs import OutputRef, RunRef, parse_ref
from prov.records.run import Run, empty_start, write_run
from prov.statements.attestation import BUILD_TYPE, encode, is_uri, statement
from prov.statements.dsse import _load
from prov.statements.record_reader import attested_run, public_address, read_evidence
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Commit, Entry
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from tests.fuzz.build import BY, DEFINITION, KEY, definitions, run_of
from tests.fuzz.common import Memory, empty_store, scratch, text, texts, written
from tests.fuzz.parser import Parser

# names


@cache
def recorded() -> Store:
    """Return a store with one run and one build."""
    store = empty_store("recorded")
    with store.objects.writer() as writer:
        tree = writer.add_tree([Entry(b"f", MODE_FILE, writer.add("blob", b"1\n"))])
        facts = {
            "result": "ok",
            "began": "1.0",
            "seconds": "1.0",
            "host": "h",
            "outputdir": "image",
        }
        run = Run(
            TaskKey(KEY),
            TaskHash(tree),
            empty_start(writer),
            Pair(tree, None),
            Output(Pair(tree, None)),
            b"log",
            {},
            facts,
        )
        made = write_run(writer, run, BY)
        writer.finish()
    tag = new_run(store, TaskKey(KEY), TaskHash(tree), made.commit)
    store.refs.update(
        tag, RefUpdate(str(OutputRef(TaskKey(KEY), TaskHash(tree))), made.output_commit)
    )
    build = record_build(
        store,
        [Line(TaskKey(KEY), TaskHash(tree), made.output, 1)],
        {TaskKey(KEY): "ran"},
        {"targets": KEY, "result": "ok"},
        BY,
    )
    store.refs.update(RefUpdate("refs/prov/label/release", build))
    return store


bases = st.sampled_from(["latest", "release", "latest~0", "builds", "release~0"])
run_names = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "latest/", "release/"]),
    st.just(KEY),
    st.sampled_from(["", "@output", "@workdir", "@before"]),
)


def ask(question: Any) -> Any:
    def answer(data: bytes) -> object:
        return question(
            recorded(), text(data.replace(b"\0", b""))
        )  # arguments of a program cannot contain NULs

    return answer


# logs and evidence

QUESTION = {
    "good": "1" * 40,
    "bad": "2" * 40,
    "name": "a:b@output",
    "command": ["./check"],
    "repeat": 1,
    "combinations": True,
}
logs = st.lists(st.sampled_from(["good", "bad", "skip"]), max_size=3).map(
    lambda verdicts: "".join(
        json.dumps(row) + "\n"
        for row in [{"question": QUESTION}]
        + [
            {"tree": str(at) * 40, "verdict": each, "of": "x", "flaky": False}
            for at, each in enumerate(verdicts)
        ]
    ).encode()
)


def read_log(data: bytes) -> object:
    said = Log(written("bisect.log", data)).read()
    command, question = said.question.command, said.question
    assert all(
        isinstance(word, str) for word in (question.good, question.bad, question.name, *command)
    )
    assert isinstance(question.repeat, int) and isinstance(question.combinations, bool)
    return said


def attest(definition: bytes, record: bytes) -> bytes:
    """Return the statement of a run with this record."""
    memory = Memory()
    commit = run_of(memory, definition, record=record)
    tree = memory.tree(memory.commit(memory.commit(commit).parents[1]).tree)
    inputs = next(entry.oid for entry in tree if entry.name == b"inputs")
    output = memory.put_tree(
        [
            Entry(
                b"content",
                MODE_DIRECTORY,
                memory.put_tree([Entry(b"f", MODE_FILE, memory.put("blob", b"1"))]),
            )
        ]
    )
    record_tree = memory.put_tree([*tree, Entry(b"output", MODE_DIRECTORY, output)])
    held = memory.commit(commit)
    run_record = memory.put("commit", type(held)(record_tree, (), BY, "record\n").encode())
    new = memory.put(
        "commit", type(held)(held.tree, (held.parents[0], run_record), BY, "run\n").encode()
    )
    store: Any = _Store(memory)
    ref = RunRef(TaskKey("zlib:compile"), TaskHash(inputs), 1)
    run = RunName(ref, CommitId(new), seconds=1)
    data = encode(statement(read_evidence(store, run)))
    read = json.loads(data)  # a simple JSON reader
    assert read["predicate"]["buildDefinition"]["buildType"] == BUILD_TYPE
    assert data.count(b"\n") == 1
    return data


class _Store:
    def __init__(self, objects: Memory) -> None:
        self.objects = objects


FACTS = f"task {KEY}\nresult ok\nbegan 1.5\nseconds 2.5\nhost box\nsandbox bwrap\n".encode()
addresses = st.sampled_from(
    ["https://me:secret@example.org/a?token=secret#x", "git://h/x", "ssh://me@h/x", "/local"]
)


def read_public(data: bytes) -> str:
    address = public_address(text(data))
    assert address == "" or is_uri(address)
    assert "?" not in address and "@" not in address.partition("://")[2].partition("/")[0]
    return address


def query(data: bytes) -> object:
    """Make tables of a run whose facts, variable, edge, list of reads and file name are `data`."""
    store = empty_store("queried")
    with store.objects.writer() as writer:
        blob = writer.add("blob", data)
        name = data.replace(b"/", b"").replace(b"\0", b"")[:200] or b"x"
        folder = writer.add_tree([Entry(name, MODE_FILE, blob)])
        folders = (b"variables", b"needs", b"after")
        inputs = writer.add_tree([Entry(kind, MODE_DIRECTORY, folder) for kind in folders])
        output = writer.add_tree([Entry(b"content", MODE_DIRECTORY, folder)])
        parts = [Entry(part, MODE_FILE, blob) for part in (b"record", b"reads")]
        trees = {b"inputs": inputs, b"output": output}
        parts += [Entry(part, MODE_DIRECTORY, tree) for part, tree in trees.items()]
        record = writer.add_commit(Commit(writer.add_tree(parts), (), BY, "record\n"))
        commit = writer.add_commit(Commit(folder, (record, record), BY, "run\n"))
    tag = str(RunRef(TaskKey(KEY), TaskHash(inputs), 1))
    store.refs.update(RefUpdate(tag, commit, None))
    with closing(make_in_memory(store, LAZY)) as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)
        assert database.execute("select count(*) from inputs").fetchone() == (1,)
        assert database.execute("select count(*) from edges").fetchone() == (2,)
        assert database.execute("select count(*) from files").fetchone() == (1,)
    store.refs.update(RefUpdate(tag, None))
    return None


PEM = b"-----BEGIN PRIVATE KEY-----\n" + base64.b64encode(
    bytes.fromhex("302e020100300506032b657004220420") + bytes(32)
)
PEM += b"\n-----END PRIVATE KEY-----\n"


def blame(data: bytes) -> object:
    before = text(data[: len(data) // 2])
    return blame_lines([before, text(data)])


PARSERS = [
    Parser("query.make_in_memory", query, None, st.just(FACTS), slow=True),
    Parser(
        "query.RunLine.parse",
        RunLine.parse,
        None,
        st.just(b"1" * 40 + b" refs/tags/zlib/compile/" + b"2" * 40 + b"/1"),
    ),
    Parser(
        "directories.find_directory",
        ask(find_directory),
        ProvError,
        run_names.map(str.encode),
        slow=True,
    ),
    Parser(
        "names.find_run, last_run",
        ask(lambda store, name: (find_run(store, name), last_run(store, TaskKey(name)))),
        ProvError,
        st.just(KEY.encode()),
        slow=True,
    ),
    Parser(
        "file_names.find_file",
        ask(find_file),
        ProvError,
        st.sampled_from([f"{KEY}@output/f", "f", "/f/"]).map(str.encode),
        slow=True,
    ),
    Parser("builds.find_build", ask(find_build), ProvError, bases.map(str.encode), slow=True),
    Parser("builds.is_build_name", ask(is_build_name), None, bases.map(str.encode), slow=True),
    Parser(
        "labels.set_label",
        ask(lambda store, name: set_label(store, name, find_build(store, "latest"))),
        ProvError,
        st.just(b"release-1"),
        slow=True,
    ),
    Parser(
        "evidence.attested_run",
        ask(attested_run),
        ProvError,
        st.sampled_from(["zlib", KEY, f"latest/{KEY}"]).map(str.encode),
        slow=True,
    ),
    Parser(
        "refs.parse_ref",
        lambda data: parse_ref(text(data)),
        None,
        st.just(b"refs/prov/output/zlib/compile/" + b"1" * 40),
    ),
    Parser("bisect_log.Log.read", read_log, ProvError, logs),
    Parser(
        "evidence, attestation (definition)",
        lambda data: attest(data, FACTS),
        ProvError,
        definitions,
    ),
    Parser(
        "evidence, attestation (record)",
        lambda data: attest(DEFINITION, data),
        ProvError,
        st.just(FACTS),
    ),
    Parser("evidence.public_address", read_public, None, addresses.map(str.encode)),
    Parser(
        "dsse.load_signer",
        lambda data: _load(scratch("files") / "key", data),
        ProvError,
        st.just(PEM),
    ),
    Parser(
        "file_versions.blame_lines",
        blame,
        None,
        st.lists(texts, max_size=9).map(lambda rows: "\n".join(rows).encode()),
    ),
]
