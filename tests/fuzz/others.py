"""Parsers of prov/bitbake, prov/sysroot and prov/files."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from prov.bitbake.build_record import read_hashes
from prov.bitbake.equivalence import FILE, read_lines
from prov.bitbake.signature import key_of, read_signature, write_inputs
from prov.errors import BitBakeError, StoreError
from prov.files import read_cache, write_cache
from prov.intake.wellformed import Limits, checked_entries
from prov.records.build_list import BuildList
from prov.records.ids import CommitId
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Commit, Entry, Kind, Oid, encode_tree
from prov.sysroot.state import SysrootState, read_merges
from prov.tasks.taskhash import HashOnly
from prov.text import name_text, one_line, printable
from tests.fuzz.build import BY
from tests.fuzz.common import Memory, names, scratch, text, texts, words, written
from tests.fuzz.parser import Parser

hashes = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
signatures = st.builds(
    lambda task, values, sums, edges, taint: {
        "task": task,
        "taskdeps": {"_set_object": list(values)},
        "varvals": {task: "echo", **values},
        "file_checksum_values": sums,
        "runtaskhashes": edges,
        "taint": taint,
    },
    names.map("do_{}".format),
    st.dictionaries(words, st.none() | texts.map(lambda each: each.replace("\0", "")), max_size=3),
    st.lists(
        st.tuples(st.sampled_from(["a.patch", "./a/b", "a", "x/y"]), st.none() | hashes), max_size=3
    ),
    st.dictionaries(st.builds("{}:do_{}".format, words, names), hashes, max_size=2),
    st.sampled_from(["", "nostamp:1"]),
).map(lambda table: json.dumps(table).encode())


class Sink(HashOnly):
    """Receives an inputs tree and checks whether git can store it."""

    def add(self, kind: Kind, data: bytes) -> Oid:
        return super().add(kind, data)

    def add_tree(self, entries: list[Entry]) -> Oid:
        # escaped names of the empty name, `.` and `..`, which no file can have
        others = [each for each in entries if each.name not in (b"%", b"%.", b"%..")]
        checked_entries(encode_tree(others), b"", Limits(name=1 << 20, path=1 << 20))
        return super().add_tree(entries)


def read_inputs(data: bytes) -> Oid:
    return write_inputs(Sink(), "zlib", read_signature(written("sigdata", data)))


def read_bitbake_list(data: bytes) -> object:
    memory = Memory()
    folder = memory.put_tree([Entry(b"zlib", MODE_FILE, memory.put("blob", data))])
    tree = memory.put_tree([Entry(b"bitbake", MODE_DIRECTORY, folder)])
    store: Any = SimpleNamespace(objects=memory)
    return read_hashes(
        BuildList(store, CommitId(memory.put("commit", Commit(tree, (), BY, "build\n").encode()))),
        "zlib",
    )


def read_equivalences(data: bytes) -> object:
    memory = Memory()
    content = memory.put_tree([Entry(FILE, MODE_FILE, memory.put("blob", data))])
    output = memory.put_tree([Entry(b"content", MODE_DIRECTORY, content)])
    commit = memory.put("commit", Commit(output, (), BY, "output\n").encode())
    store: Any = SimpleNamespace(
        objects=memory, refs=SimpleNamespace(list=lambda _prefix: {"one": commit})
    )
    return read_lines(store, set())


def cache_bytes(value: object) -> bytes:
    path = scratch("files") / "cache"
    write_cache(path, value)
    return path.read_bytes()


def state_bytes(state: SysrootState) -> bytes:
    path = scratch("files") / "state"
    state.write(path)
    return path.read_bytes()


states = st.builds(
    SysrootState, st.booleans(), request=st.binary(max_size=9), generation=st.integers(0, 99)
)
values = st.recursive(
    st.none() | st.integers() | st.binary(max_size=9) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3),
)


def show(data: bytes) -> str:
    """Escape untrusted text for a terminal."""
    line = name_text(text(data))
    assert not set(line) & set(map(chr, [*range(32), *range(127, 160)]))
    one_line(text(data))
    return printable(text(data))


PARSERS = [
    Parser("signature.read_signature, write_inputs", read_inputs, BitBakeError, signatures),
    Parser(
        "signature.key_of",
        lambda data: key_of(text(data)),
        BitBakeError,
        st.sampled_from([b"mc:musl:zlib:do_compile", b"zlib:do_compile"]),
    ),
    Parser(
        "bitbake.build_record.read_hashes",
        read_bitbake_list,
        StoreError,
        st.just(b"do_compile 1234 5678\n"),
    ),
    Parser("equivalence.read_lines", read_equivalences, None, st.just(b"method 12 34 56\n")),
    Parser(
        "state.State.read",
        lambda data: SysrootState.read(written("state", data)),
        None,
        states,
        state_bytes,
        inverse=True,
    ),
    Parser(
        "state.read_merges",
        lambda data: read_merges(written("merges", data)),
        None,
        st.just(b""),
        valid=False,
    ),
    Parser(
        "files.read_cache",
        lambda data: read_cache(written("cache", data)),
        None,
        values,
        cache_bytes,
        inverse=True,
    ),
    Parser("text.printable, name_text", show, None, texts.map(str.encode)),
]
