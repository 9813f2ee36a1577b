"""Signature data as an inputs tree: every input of BitBake's hash changes the tree's id."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prov.bitbake.signature import (
    LIMIT,
    Signature,
    decode_signature,
    key_of,
    read_signature,
    recipe_name,
    write_inputs,
)
from prov.errors import BitBakeError
from prov.store.objects import MODE_DIRECTORY, Oid, object_id
from prov.store.repository import Store
from tests.bitbake.recorded import signatures

RECORDED = signatures()
SMALL = Signature(
    task="do_compile",
    values={"do_compile": "make\n", "CFLAGS": "-O2", "S": None},
    checksums=[("main.c", "0" * 32), ("./files/a", "1" * 32), ("gone", None)],
    dependencies={
        "app:do_configure": "2" * 64,
        "zlib:do_stage": "3" * 64,
        "mc:musl:zlib:do_stage": "4" * 64,
    },
)
Write = Callable[[Signature], Oid]


@pytest.fixture
def inputs(store: Store) -> Write:
    def write(signature: Signature) -> Oid:
        with store.objects.writer() as writer:
            oid = write_inputs(writer, "app", signature)
            writer.finish()
        return oid

    return write


@pytest.fixture
def texts(store: Store, inputs: Write) -> Callable[[Signature], dict[str, str]]:
    """Return the files of an inputs tree by path."""

    def read(oid: Oid, above: str = "") -> dict[str, str]:
        found: dict[str, str] = {}
        for entry in store.objects.tree(oid):
            path = above + entry.name.decode("utf-8", "surrogateescape")
            if entry.mode == MODE_DIRECTORY:
                found |= read(entry.oid, path + "/")
            else:
                found[path] = store.objects.blob(entry.oid).decode("utf-8", "surrogateescape")
        return found

    return lambda signature: read(inputs(signature))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def base_hash(signature: Signature) -> str:
    """Return BitBake's base hash of a task."""
    names = sorted(signature.values.keys() - {signature.task})
    reached = "".join(name + (signature.values[name] or "") for name in names)
    return sha256((signature.values[signature.task] or "") + reached)


def task_hash(signature: Signature) -> str:
    """Return BitBake's task hash."""
    edges = "".join(signature.dependencies[name] for name in sorted(signature.dependencies))
    counted = [
        (name if "./" in name else "", checksum)
        for name, checksum in signature.checksums
        if checksum
    ]
    files = "".join(name + checksum for name, checksum in counted)
    return sha256(base_hash(signature) + edges + files + signature.taint.removeprefix("nostamp:"))


# all inputs of the hash are in the tree


@pytest.mark.parametrize("data", RECORDED, ids=lambda data: data["task"])
def test_recorded_hashes_are_computed_from_the_signature(data: dict[str, Any]) -> None:
    signature = decode_signature(data)
    assert base_hash(signature) == data["basehash"]
    assert task_hash(signature) == data["taskhash"] == signature.task_hash


@pytest.mark.parametrize("taint", ["5f0c", "nostamp:5f0c"])
def test_taint_is_hashed(taint: str) -> None:
    data = next(each for each in RECORDED if each["task"] == "do_compile")
    assert task_hash(decode_signature(data | {"taint": taint})) == sha256(
        data["basehash"]
        + "".join(data["runtaskhashes"][name] for name in data["runtaskdeps"])
        + "5f0c"
    )


def test_recorded_trees_differ_where_hashes_differ(store: Store) -> None:
    hashes: dict[Oid, set[str]] = {}
    with store.objects.writer() as writer:
        for data in RECORDED:
            hashes.setdefault(write_inputs(writer, "app", decode_signature(data)), set()).add(
                data["taskhash"]
            )
    assert all(len(each) == 1 for each in hashes.values())
    assert len(hashes) == len({data["taskhash"] for data in RECORDED})


CHANGES = {
    "task's name": replace(SMALL, task="do_compile2", values={**SMALL.values, "do_compile2": None}),
    "script": replace(SMALL, values={**SMALL.values, "do_compile": "make all\n"}),
    "no script": replace(SMALL, values={**SMALL.values, "do_compile": None}),
    "value": replace(SMALL, values={**SMALL.values, "CFLAGS": "-O3"}),
    "empty value": replace(SMALL, values={**SMALL.values, "CFLAGS": ""}),
    "no value": replace(SMALL, values={**SMALL.values, "CFLAGS": None}),
    "value that is set": replace(SMALL, values={**SMALL.values, "S": ""}),
    "variable": replace(SMALL, values={**SMALL.values, "LDFLAGS": ""}),
    "variable without a value": replace(SMALL, values={**SMALL.values, "LDFLAGS": None}),
    "checksum": replace(SMALL, checksums=[("main.c", "9" * 32), *SMALL.checksums[1:]]),
    "file": replace(SMALL, checksums=[*SMALL.checksums, ("new.c", "9" * 32)]),
    "file that now exists": replace(SMALL, checksums=[*SMALL.checksums[:2], ("gone", "9" * 32)]),
    "folder of a file": replace(
        SMALL, checksums=[SMALL.checksums[0], ("./other/a", "1" * 32), SMALL.checksums[2]]
    ),
    "second of a name": replace(SMALL, checksums=[*SMALL.checksums, ("main.c", "9" * 32)]),
    "dependency": replace(SMALL, dependencies={**SMALL.dependencies, "m4:do_stage": "9" * 64}),
    "no dependency": replace(SMALL, dependencies={}),
    "unihash": replace(SMALL, dependencies={**SMALL.dependencies, "zlib:do_stage": "9" * 64}),
    "unihash in a multiconfig": replace(
        SMALL, dependencies={**SMALL.dependencies, "mc:musl:zlib:do_stage": "9" * 64}
    ),
    "taint": replace(SMALL, taint="5f0c"),
    "file below a folder of its own": replace(
        SMALL, checksums=[("./main.c", "0" * 32), *SMALL.checksums[1:]]
    ),
}


@pytest.mark.parametrize("other", CHANGES.values(), ids=CHANGES)
def test_change_changes_the_tree(inputs: Write, other: Signature) -> None:
    assert inputs(other) != inputs(SMALL)


NAMES = st.one_of(
    st.sampled_from(
        [
            "a",
            "b",
            "a+",
            "a%",
            "%2F",
            "a/b",
            "a%2Fb",
            ".",
            "..",
            "",
            ".git",
            ".GIT",
            "git~1",
            "a\\b",
            "ü",
        ]
    ),
    st.text(st.sampled_from("ab/%+.:~gitGIT\\\u200c\udcff "), max_size=6),
)
CHECKSUMS = st.one_of(st.none(), st.sampled_from(["0" * 32, "1" * 64, "2"]))
PLAIN = NAMES.filter(lambda name: "/" not in name)
FILES = st.one_of(
    PLAIN,
    PLAIN.map("./{}".format),
    st.sampled_from(["./a/b", "./a", "a", "./.git/b", "./a/.git/b"]),
)
VALUES = st.one_of(st.none(), st.text(max_size=5), st.just("\udcff"))
TASKS = st.sampled_from(["app:do_a", "app:do_b", "mc:x:app:do_a", "lib:do_a", "mc:x:lib:do_a"])


@st.composite
def generated(draw: st.DrawFn) -> Signature:
    values = draw(st.dictionaries(NAMES, VALUES, max_size=4))
    files = draw(st.lists(st.tuples(FILES, CHECKSUMS), max_size=4))
    edges = draw(st.dictionaries(TASKS, st.sampled_from(["3" * 64, "4" * 64]), max_size=3))
    files.sort(key=lambda file: file[0])  # BitBake sorts them by path
    return Signature(
        "do_a",
        values | {"do_a": draw(VALUES)},
        files,
        edges,
        draw(st.sampled_from(["", "x", "nostamp:x"])),
    )


@given(signature=generated(), other=generated())
def test_different_hashes_have_different_trees(
    store: Store, signature: Signature, other: Signature
) -> None:
    with store.objects.writer() as writer:
        assume(task_hash(signature) != task_hash(other))
        assert write_inputs(writer, "app", signature) != write_inputs(writer, "app", other)


@settings(max_examples=25)
@given(signature=generated())
def test_git_accepts_every_tree(store: Store, signature: Signature) -> None:
    with store.objects.writer() as writer:
        oid = write_inputs(writer, "app", signature)
        writer.finish()
    names = [entry.name for entry in store.objects.tree(oid)]
    assert len(names) == len(set(names))
    command = ["git", f"--git-dir={store.path}", "mktree"]
    listed = subprocess.run(
        [*command[:2], "ls-tree", "-z", oid.hex()], capture_output=True, check=True
    ).stdout
    assert (
        subprocess.run([*command, "-z"], input=listed, capture_output=True, check=True)
        .stdout.decode()
        .strip()
        == oid.hex()
    )


# names


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("pkg_postinst:${PN}", "variables/pkg_postinst:${PN}"),
        ("a/b", "variables/a%2Fb"),
        ("a%2Fb", "variables/a%252Fb"),
        ("%x", "variables/%%25x"),
        (".git", "variables/%.git"),
        ("a\udcff", "variables/a\udcff"),
    ],
)
def test_names_of_variables_are_kept(
    texts: Callable[[Signature], dict[str, str]], name: str, path: str
) -> None:
    assert texts(replace(SMALL, values={"do_compile": None, name: "x"}))[path] == "x"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a.patch", "sources/a.patch"),
        ("./a/b.cfg", "sources/a/b.cfg"),
        (".git", "sources/%.git"),
        ("./a/.git", "sources/a/%.git"),
        ("a\udce9.c", "sources/a\udce9.c"),
    ],
)
def test_names_of_files_are_kept(
    texts: Callable[[Signature], dict[str, str]], name: str, path: str
) -> None:
    assert texts(replace(SMALL, checksums=[(name, "0" * 32)]))[path] == f"md5 {'0' * 32}\n"


def test_dependencies_are_separated_by_recipe(
    texts: Callable[[Signature], dict[str, str]],
) -> None:
    found = texts(SMALL)
    assert {path for path in found if path.startswith(("after/", "needs/"))} == {
        "after/do_configure",
        "needs/zlib:do_stage",
        "needs/mc.musl.zlib:do_stage",
    }


def test_multiconfig_is_in_front_of_the_recipe() -> None:
    assert recipe_name("musl", "zlib") == "mc.musl.zlib"
    assert recipe_name("default", "zlib") == recipe_name("", "zlib") == "zlib"
    assert key_of("mc:musl:zlib:do_stage") == "mc.musl.zlib:do_stage"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "zlib",
        "zlib:stage",
        "mc:zlib:do_stage",
        "a:b:do_stage",
        "mc:a:b:c:do_stage",
        "a/b:do_stage",
    ],
)
def test_invalid_task_name_is_rejected(text: str) -> None:
    with pytest.raises(BitBakeError, match="invalid task name"):
        key_of(text)


# files


GOOD = {"task": "do_a", "taskdeps": ["A"], "varvals": {"do_a": "x", "A": "y"}}
MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"\x80\x04pickled",
    "half": json.dumps(GOOD).encode()[:-3],
    "torn zstd": b"\x28\xb5\x2f\xfd\x00\x00",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "no task": json.dumps(GOOD | {"task": None}).encode(),
    "a number for a task": json.dumps(GOOD | {"task": 7}).encode(),
    "no values": json.dumps({"task": "do_a", "taskdeps": []}).encode(),
    "a list for values": json.dumps(GOOD | {"varvals": ["A"]}).encode(),
    "no dependencies": json.dumps(GOOD | {"taskdeps": None}).encode(),
    "a set of another kind": json.dumps(GOOD | {"taskdeps": {"set": ["A"]}}).encode(),
    "dependencies that are numbers": json.dumps(GOOD | {"taskdeps": [7]}).encode(),
    "checksums without names": json.dumps(GOOD | {"file_checksum_values": ["a"]}).encode(),
    "checksums that are numbers": json.dumps(GOOD | {"file_checksum_values": [["a", 7]]}).encode(),
    "hashes in a list": json.dumps(GOOD | {"runtaskhashes": ["a:do_b"]}).encode(),
    "null for a hash": json.dumps(GOOD | {"runtaskhashes": {"a:do_b": None}}).encode(),
    "hashes without a task": json.dumps(GOOD | {"runtaskhashes": {"a": "0"}}).encode(),
    "a list for a taint": json.dumps(GOOD | {"taint": ["x"]}).encode(),
    "nested": b"[" * 1_000_000,
    "a number of many digits": b'{"task": ' + b"9" * 10_000 + b"}",
    "a file in too many folders": (
        json.dumps(GOOD | {"file_checksum_values": [["./" + "a/" * 5_000, None]]}).encode()
    ),
    "a long name without a task": json.dumps(
        GOOD | {"runtaskhashes": {"a" * 1_000_000: "0"}}
    ).encode(),
    "a long list for a taint": json.dumps(GOOD | {"taint": ["x" * 1_000_000]}).encode(),
    "a lone surrogate": json.dumps(GOOD | {"varvals": {"do_a": "\ud800", "A": ""}}).encode(),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_data_is_rejected(inputs: Write, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "sigdata"
    file.write_bytes(data)
    with pytest.raises(BitBakeError) as caught:
        inputs(read_signature(file))
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("size", [0, 1])
def test_data_up_to_the_limit_is_read(inputs: Write, tmp_path: Path, size: int) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    text = json.dumps(GOOD)
    plain.write_text(text + " " * (LIMIT - len(text) + size))
    subprocess.run(["zstd", "-q", plain, "-o", packed], check=True)
    for file in (plain, packed):
        if size == 0:
            assert read_signature(file).task == "do_a"
            continue
        with pytest.raises(
            BitBakeError, match=re.escape(f"{file}: signature data is larger than 16.8 MB")
        ):
            read_signature(file)


def test_bomb_is_not_decompressed(tmp_path: Path) -> None:
    """100 GB of zeros would take minutes, and more memory than the machine has."""
    file = tmp_path / "sigdata"
    # a frame's magic, descriptor and window, then blocks of 4 bytes that each repeat a byte 128 k
    # times
    blocks = 800_000
    head = b"\x28\xb5\x2f\xfd\x00\x58"
    file.write_bytes(head + b"\x02\x00\x10\x00" * (blocks - 1) + b"\x03\x00\x10\x00")
    limit = 1 << 30
    child = (
        "import resource, sys; from pathlib import Path; from prov.bitbake.signature import"
        f" read_signature\nresource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}));"
        " read_signature(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", child, file], capture_output=True, text=True, timeout=60
    )
    assert done.stderr.splitlines()[-1].endswith(f"{file}: signature data is larger than 16.8 MB")


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BitBakeError, match="No such file"):
        read_signature(tmp_path / "none")


def test_compressed_and_plain_data_are_equal(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_text(json.dumps(RECORDED[0]))
    subprocess.run(["zstd", "-q", plain, "-o", packed], check=True)
    assert read_signature(packed) == read_signature(plain) == decode_signature(RECORDED[0])


def test_known_texts_are_not_written_again(tmp_path: Path) -> None:
    first, second = (
        Signature("do_a", {"do_a": "script", "SAME": "same", "OWN": own}, (), {})
        for own in ("one", "two")
    )
    store = Store.create(tmp_path / "store")
    texts: dict[str, bytes] = {}
    with store.objects.writer() as writer:
        write_inputs(writer, "app", first, texts)
    for signature in (first, second):
        with store.objects.writer() as writer:
            plain = write_inputs(writer, "app", signature)
        assert plain == write_inputs(writer, "app", signature, texts)
    assert {"same", "one", "two", "script"} <= texts.keys()
    assert store.objects.blob(texts["two"]) == b"two"


def test_texts_that_are_known_need_no_blob(tmp_path: Path) -> None:
    """The caller vouches for them."""
    signature = Signature("do_a", {"do_a": "script"}, (), {})
    store = Store.create(tmp_path / "store")
    texts = {"script": object_id("blob", b"script")}
    with store.objects.writer() as writer:
        write_inputs(writer, "app", signature, texts)
    assert not store.objects.exists(texts["script"])
