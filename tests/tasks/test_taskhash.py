"""Tests of the task hash: the entries of an inputs tree, and changes of its id."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import RecipeError
from prov.recipes.graph import Node
from prov.recipes.recipe import TOOLCHAIN, Source
from prov.store.objects import MODE_DIRECTORY, MODE_EXECUTABLE, MODE_FILE
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.tasks.taskhash import (
    HashOnly,
    InputsReader,
    OwnInputs,
    output_paths,
    task_hash,
    task_text,
)
from tests.tasks.samples import TOOLS, blob_id, node_of, own_of

HASH, OTHER = "0123456789abcdef0123456789abcdef01234567", "f" * 40
SHA256 = "5" * 64


@pytest.fixture
def reader(store: Store) -> InputsReader:
    """Collects tasks' inputs on a host with two tools."""
    return InputsReader(store, store.objects.writer(), lambda _tools, _key: TOOLS)


def texts_of(reader: InputsReader, node: Node) -> dict[str, str]:
    """Return a node's own inputs: path in the inputs tree -> text."""
    sink = reader.store.objects.writer(memory=True)
    texts: dict[str, str] = {}
    for entry in reader.own(node, sink).entries:
        name = entry.name.decode()
        if entry.mode == MODE_DIRECTORY:
            texts |= {
                f"{name}/{below.name.decode()}": _text(sink, below.mode, below.oid)
                for below in sink.tree(entry.oid)
            }
        else:
            texts[name] = sink.blob(entry.oid).decode()
    return texts


def _text(sink: ObjectWriter, mode: int, oid: bytes) -> str:
    return "a folder" if mode == MODE_DIRECTORY else sink.blob(oid).decode()


# hashes


def test_computed_ids_equal_those_of_written_objects(store: Store) -> None:
    edges = {"after": {"configure": HASH}, "needs": {"app:install": OTHER}}
    with store.objects.writer() as writer:
        blob, tree = writer.add("blob", b"make\n"), task_hash(writer, own_of(), edges)
    assert HashOnly().add("blob", b"make\n") == blob
    assert task_hash(HashOnly(), own_of(), edges) == tree


def test_a_hash_is_that_of_recorded_stores(store: Store) -> None:
    with store.objects.writer() as writer:
        writer.add("blob", b"make\n")
        oid = task_hash(writer, own_of(), {"after": {"configure": HASH}})
    below = store.objects.entry(oid, "after/configure")
    assert below is not None
    assert store.objects.blob(below.oid) == f"{HASH}\n".encode()
    assert [entry.name for entry in store.objects.tree(oid)] == [b"after", b"script"]


def test_empty_kinds_of_edges_have_no_entry() -> None:
    without = task_hash(HashOnly(), own_of(), {})
    assert task_hash(HashOnly(), own_of(), {"after": {}, "from": {}, "needs": {}}) == without


edge_names = st.from_regex(r"\A[a-z]{1,4}(:[a-z]{1,4})?\Z")
edge_tables = st.dictionaries(
    st.sampled_from(["after", "from", "needs"]),
    st.dictionaries(edge_names, st.sampled_from([HASH, OTHER]), max_size=3),
)


def reverse(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with the order reversed at all levels."""
    return {
        name: reverse(value) if isinstance(value, dict) else value
        for name, value in reversed(list(table.items()))
    }


@given(edge_tables)
def test_the_order_of_edges_is_not_hashed(edges: dict[str, dict[str, str]]) -> None:
    assert task_hash(HashOnly(), own_of(), edges) == task_hash(HashOnly(), own_of(), reverse(edges))


@given(edge_tables, edge_tables)
def test_different_edges_change_the_hash(
    edges: dict[str, dict[str, str]], others: dict[str, dict[str, str]]
) -> None:
    same = {kind: ids for kind, ids in edges.items() if ids} == {
        kind: ids for kind, ids in others.items() if ids
    }
    first, second = (task_hash(HashOnly(), own_of(), table) for table in (edges, others))
    assert (first == second) == same


# entries


def test_inputs_of_the_least_task(reader: InputsReader) -> None:
    assert texts_of(reader, node_of()) == {
        "task": "task zlib:compile\narch target x86_64\ninterpreter sh\ndir ${WORKDIR}\n",
        "script": "make\n",
        "host-toolchain": f"{TOOLS.tree.hex()}\n",
    }


@pytest.mark.parametrize(
    ("fields", "entries"),
    [
        ({"task": {"postprocess": "ldconfig\n"}}, {"postprocess": "ldconfig\n"}),
        ({"script": "echo $A", "variables": {"A": "1", "B": "2"}}, {"variables/A": "1"}),
        (
            {"script": "echo $A", "variables": {"A": "${B}x", "B": "2", "C": "3"}},
            {"variables/A": "${B}x", "variables/B": "2"},
        ),
        ({"script": "f\n", "functions": {"f": "make", "g": "x"}}, {"functions/f": "make"}),
        (
            {"script": "f\n", "functions": {"f": "g", "g": "echo ${A}"}, "variables": {"A": "1"}},
            {"functions/f": "g", "functions/g": "echo ${A}", "variables/A": "1"},
        ),
        ({"task": {"dir": "${S}"}, "variables": {"S": "src"}}, {"variables/S": "src"}),
        ({"task": {"vardeps": ("A",)}, "variables": {"A": "1"}}, {"variables/A": "1"}),
        (
            {"script": "echo $A", "variables": {"A": "1"}, "task": {"vardepsexclude": ("A",)}},
            {},
        ),
        (
            {"task": {"hosttools": (TOOLCHAIN,)}, "export": ("CC",), "variables": {"CC": "gcc"}},
            {"variables/CC": "gcc"},
        ),
        ({"export": ("CC",), "variables": {"CC": "gcc"}}, {}),
        ({"script": "echo $WORKDIR $JOBS"}, {}),
        ({"version": "2"}, {}),
    ],
)
def test_used_names_are_inputs(
    reader: InputsReader, fields: dict[str, Any], entries: dict[str, str]
) -> None:
    node = node_of(**fields)
    texts = texts_of(reader, node)
    for name in ("task", "script", "host-toolchain"):
        del texts[name]
    assert texts == entries


@pytest.mark.parametrize(("network", "is_input"), [(False, True), (True, False)])
def test_variables_of_the_caller(reader: InputsReader, *, network: bool, is_input: bool) -> None:
    reader.environment = {"TERM": "dumb", "CCACHE": "on"}
    texts = texts_of(reader, node_of(task={"network": network}))
    assert texts.get("environment") == ("CCACHE=on\nTERM=dumb\n" if is_input else None)


def test_rules_of_captures_are_inputs(reader: InputsReader) -> None:
    reader.capture = "exclude *.pyc\n"
    assert texts_of(reader, node_of())["capture"] == "exclude *.pyc\n"


def test_the_toolchain_is_requested_by_tools_and_task(store: Store) -> None:
    questions = []

    def toolchain(tools: tuple[str, ...], asker: str) -> Any:
        questions.append((tools, asker))
        return TOOLS

    reader = InputsReader(store, store.objects.writer(), toolchain)
    reader.own(node_of(variables={"HOSTTOOLS": "sh make?"}), HashOnly())
    assert questions == [(("make?", "sh"), "zlib:compile")]


@pytest.mark.parametrize(
    ("variables", "hosttools", "tools"),
    [
        ({}, (), ()),
        ({"HOSTTOOLS": "sh sed"}, (), ("sed", "sh")),
        ({"HOSTTOOLS": "sh"}, ("git",), ("git", "sh")),
        ({"HOSTTOOLS": "sh git?"}, (), ("git?", "sh")),
        ({"HOSTTOOLS": "sh git?"}, ("git",), ("git", "sh")),
        ({"HOSTTOOLS": "git"}, ("git?",), ("git",)),
        ({"HOSTTOOLS_TOOLCHAIN": "cc ld"}, (), ()),
        ({"HOSTTOOLS_TOOLCHAIN": "cc ld"}, (TOOLCHAIN,), ("cc", "ld")),
        ({"HOSTTOOLS": "ld?", "HOSTTOOLS_TOOLCHAIN": "cc ld"}, (TOOLCHAIN,), ("cc", "ld")),
    ],
)
def test_host_tools(
    reader: InputsReader,
    variables: dict[str, str],
    hosttools: tuple[str, ...],
    tools: tuple[str, ...],
) -> None:
    node = node_of(variables=variables, task={"hosttools": hosttools})
    assert reader.tools(node) == tools


def test_a_task_in_python_has_the_systems_python(reader: InputsReader) -> None:
    tools = reader.tools(node_of("x = 1\n", task={"interpreter": "python3"}))
    assert bool(tools) == (sys.base_prefix == "/usr")


# properties

tables = st.dictionaries(
    st.sampled_from(["A", "B", "C", "D"]), st.sampled_from(["", "1", "${A}", "x y"]), min_size=4
).filter(lambda table: "${A}" not in table["A"])


def own_hash(reader: InputsReader, node: Node) -> bytes:
    """Return the hash of a node without edges."""
    return task_hash(HashOnly(), reader.own(node, HashOnly()), {})


@given(tables)
def test_the_order_of_variables_is_not_hashed(
    reader: InputsReader, variables: dict[str, str]
) -> None:
    script = "echo $A $B $C $D\n"
    node = node_of(script, variables=variables)
    other = node_of(script, variables=reverse(variables))
    assert own_hash(reader, node) == own_hash(reader, other)


@given(tables, tables)
def test_a_used_variable_changes_the_hash(
    reader: InputsReader, one: dict[str, str], other: dict[str, str]
) -> None:
    first, second = (node_of("echo $A $B $C $D\n", variables=table) for table in (one, other))
    assert (own_hash(reader, first) == own_hash(reader, second)) == (one == other)


@given(tables, tables)
def test_an_unused_variable_does_not_change_the_hash(
    reader: InputsReader, one: dict[str, str], other: dict[str, str]
) -> None:
    first, second = (
        node_of("echo $A\n", variables={**table, "A": one["A"]}) for table in (one, other)
    )
    assert own_hash(reader, first) == own_hash(reader, second)


@pytest.mark.parametrize(
    ("fields", "differs"),
    [
        ({"script": "make all\n"}, True),
        ({"arch": "native"}, True),
        ({"arch": "allarch"}, True),
        ({"task": {"dir": "${WORKDIR}/build"}}, True),
        ({"task": {"outputdir": ("image",)}}, True),
        ({"task": {"interpreter": "python3"}}, True),
        ({"task": {"postprocess": "true\n"}}, True),
        ({"task": {"network": True}}, False),
        ({"task": {"deploy": True}}, False),
        ({"version": "9"}, False),
        ({"path": Path("elsewhere/zlib.toml")}, False),
        ({"rdepends": ("app",)}, False),
    ],
)
def test_which_fields_of_a_recipe_are_hashed(
    reader: InputsReader, fields: dict[str, Any], *, differs: bool
) -> None:
    assert (own_hash(reader, node_of()) != own_hash(reader, node_of(**fields))) == differs


def test_an_unset_name_is_an_error_before_anything_runs(reader: InputsReader) -> None:
    node = node_of("echo ${NOTHING}\n")
    with pytest.raises(RecipeError, match=r"tasks\.compile\.script: \$\{NOTHING\} is not set"):
        reader.own(node, HashOnly())
    reader.allowed = ("NOTHING",)
    assert isinstance(reader.own(node, HashOnly()), OwnInputs)


# task_text


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ({}, ["arch target x86_64", "interpreter sh", "dir ${WORKDIR}"]),
        ({"arch": "allarch"}, ["interpreter sh", "dir ${WORKDIR}"]),
        (
            {"task": {"dir": "${S}", "outputdir": ("b", "a")}},
            ["arch target x86_64", "interpreter sh", "dir ${S}", "outputdir b", "outputdir a"],
        ),
        (
            {"task": {"hosttools": (TOOLCHAIN,)}, "export": ("CC", "LD")},
            ["arch target x86_64", "interpreter sh", "dir ${WORKDIR}", "export CC", "export LD"],
        ),
        (
            {"sysroot_owner": {b"usr/b": "y", b"usr/a": "x"}, "edges": {"needs": ("x:stage",)}},
            [
                "arch target x86_64",
                "interpreter sh",
                "dir ${WORKDIR}",
                "sysroot_owner usr/a x",
                "sysroot_owner usr/b y",
            ],
        ),
        (
            {"sysroot_owner": {b"usr/a": "x"}},
            ["arch target x86_64", "interpreter sh", "dir ${WORKDIR}"],
        ),
    ],
)
def test_what_a_task_declares(fields: dict[str, Any], lines: list[str]) -> None:
    assert task_text(node_of(**fields)) == "\n".join(["task zlib:compile", *lines, ""])


def test_the_version_of_python_is_declared() -> None:
    version = f"python {sys.version_info.major}.{sys.version_info.minor}\n"
    assert version in task_text(node_of(task={"interpreter": "python3"}))
    assert version not in task_text(node_of())


def test_staging_is_declared_in_one_order() -> None:
    node = replace(node_of(), staging=("b:stage target image", "a:stage native image"))
    text = task_text(node)
    assert text.index("needs a:stage native image\n") < text.index("needs b:stage target image\n")


# folders of outputs


@pytest.mark.parametrize(
    ("outputdir", "path"),
    [
        ("image", b"image"),
        ("image/", b"image"),
        ("${WORKDIR}/image", b"image"),
        ("a/b c", b"a/b c"),
        ("${D}", b"image"),
        ("${NESTED}", b"image/usr"),
        ("im\udcffage", b"im\xffage"),
        ("...", b"..."),
    ],
)
def test_a_folder_below_the_workdir(outputdir: str, path: bytes) -> None:
    node = node_of(
        variables={"D": "${WORKDIR}/image", "NESTED": "${D}/usr"}, task={"outputdir": (outputdir,)}
    )
    assert output_paths(node.recipe, node) == [path]


@pytest.mark.parametrize(
    ("outputdir", "problem"),
    [
        (("/etc",), "is outside WORKDIR"),
        (("../x",), "is outside WORKDIR"),
        (("image/../..",), "is not a folder below WORKDIR"),
        ((".",), "is not a folder below WORKDIR"),
        (("",), "is not a folder below WORKDIR"),
        (("${WORKDIR}",), "is not a folder below WORKDIR"),
        (("a//b",), "is not a folder below WORKDIR"),
        (("x${WORKDIR}/image",), "is not a folder below WORKDIR"),
        (("temp",), "is reserved by prov"),
        (("recipe-sysroot/usr",), "is reserved by prov"),
        (("${NOTHING}",), "is not set"),
        (("image", "image/usr"), "'image/usr' is inside 'image'"),
        (("image/usr", "image"), "'image/usr' is inside 'image'"),
    ],
)
def test_invalid_folders_are_rejected(outputdir: tuple[str, ...], problem: str) -> None:
    node = node_of(task={"outputdir": outputdir})
    with pytest.raises(RecipeError, match=f"zlib.toml: tasks.compile.outputdir: .*{problem}"):
        output_paths(node.recipe, node)


def test_a_common_prefix_is_not_nesting() -> None:
    node = node_of(task={"outputdir": ("image", "image-dbg")})
    assert output_paths(node.recipe, node) == [b"image", b"image-dbg"]


# sources and patches


def sources(*found: Source, **task: Any) -> Node:
    """Return the node of a task with sources."""
    return node_of(task={"inputs": ("sources",), **task}, sources=found)


@pytest.mark.parametrize(
    ("source", "entries"),
    [
        (
            Source("a.tar", sha256=SHA256, url="http://x/a.tar"),
            {"sources/a.tar": f"sha256 {SHA256}\n"},
        ),
        (
            Source("a.tar", sha256=SHA256, url="http://y/a.tar"),
            {"sources/a.tar": f"sha256 {SHA256}\n"},
        ),
        (Source("a", git="http://x/a", commit=HASH), {"sources/a": f"git {HASH}\n"}),
        (
            Source("a", sha256=SHA256, url="http://x", unpack=False),
            {"sources/a": f"sha256 {SHA256}\n", "sources/%a.unpack": "no\n"},
        ),
        (
            Source("a", git="http://x/a", commit=HASH, submodules=True),
            {"sources/a": f"git {HASH}\n", "sources/%a.submodules": "True\n"},
        ),
    ],
)
def test_a_pinned_source(reader: InputsReader, source: Source, entries: dict[str, str]) -> None:
    texts = texts_of(reader, sources(source))
    assert {name: text for name, text in texts.items() if "/" in name} == entries


def test_sources_are_inputs_of_the_tasks_that_use_them(reader: InputsReader) -> None:
    source = Source("a.tar", sha256=SHA256, url="http://x/a.tar")
    assert "sources/a.tar" not in texts_of(reader, sources(source, inputs=()))


def test_the_order_of_sources_is_an_input(reader: InputsReader) -> None:
    one, other = (
        Source("a", sha256=SHA256, url="http://x"),
        Source("b", sha256=SHA256, url="http://x"),
    )
    assert texts_of(reader, sources(one, other))["sources/%order"] == "a\nb\n"
    first, second = sources(one, other), sources(other, one)
    assert own_hash(reader, first) != own_hash(reader, second)


@pytest.mark.parametrize(("mode", "recorded"), [(0o644, MODE_FILE), (0o700, MODE_EXECUTABLE)])
def test_a_local_file(reader: InputsReader, tmp_path: Path, mode: int, recorded: int) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("content\n")
    path.chmod(mode)
    node = sources(Source("notes.txt", file=path))
    (file,) = reader.own(node, HashOnly()).sources
    assert (file.name, file.node.oid) == ("notes.txt", blob_id("content\n"))
    assert texts_of(reader, node)["sources/notes.txt"] == "content\n"
    assert file.node.mode & 0o777 == (0o755 if recorded == MODE_EXECUTABLE else 0o644)


def test_a_pinned_local_file_is_captured_too(reader: InputsReader, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("content\n")
    node = sources(Source("a.tar", sha256=SHA256, file=tmp_path / "a.tar"))
    (file,) = reader.own(node, HashOnly()).sources
    assert file.node.oid == blob_id("content\n")
    assert texts_of(reader, node)["sources/a.tar"] == f"sha256 {SHA256}\n"


def test_a_local_folder(reader: InputsReader, tmp_path: Path) -> None:
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "a.c").write_text("1\n")
    (folder / "a.o").write_text("2\n")
    (folder / ".git").mkdir()
    (folder / "private").mkdir(mode=0o700)
    node = sources(Source("src", file=folder, exclude=("*.o",)))
    before = own_hash(reader, node)
    (file,) = reader.own(node, HashOnly()).sources
    names = [entry.name for entry in reader.store.objects.tree(file.node.pair.tree)]
    assert names == [b"a.c"]
    assert file.node.pair.attributes is not None  # the empty folder
    fresh = InputsReader(reader.store, reader.writer, reader.toolchain)
    (folder / "private").chmod(0o755)
    (folder / "a.o").write_text("3\n")
    assert own_hash(fresh, node) == before
    (folder / "a.c").write_text("changed\n")
    fresh = InputsReader(reader.store, reader.writer, reader.toolchain)
    assert own_hash(fresh, node) != before


@pytest.mark.parametrize(
    ("name", "sha256", "problem"),
    [
        ("nothing", "", "does not exist"),
        ("folder", SHA256, "is a folder and cannot have `sha256`"),
        ("store.git", "", "which builds write to"),
        ("store.git/objects", "", "which builds write to"),
    ],
)
def test_invalid_local_sources_are_rejected(
    reader: InputsReader, tmp_path: Path, name: str, sha256: str, problem: str
) -> None:
    (tmp_path / "folder").mkdir()
    reader.own_folders = (reader.store.path,)
    node = sources(Source("a", sha256=sha256, file=tmp_path / name))
    with pytest.raises(RecipeError, match=f"zlib.toml: sources: .*{problem}"):
        reader.own(node, HashOnly())


def test_patches_are_numbered(reader: InputsReader, tmp_path: Path) -> None:
    paths = tuple(tmp_path / name for name in ("z.patch", "a.patch"))
    for path in paths:
        path.write_text(f"{path.name}\n")
    node = node_of(task={"inputs": ("patches",)}, patches=paths)
    texts = texts_of(reader, node)
    assert texts["patches/0001-z.patch"] == "z.patch\n"
    assert texts["patches/0002-a.patch"] == "a.patch\n"
    other = node_of(task={"inputs": ("patches",)}, patches=paths[::-1])
    assert own_hash(reader, other) != own_hash(reader, node)
    assert "patches/0001-z.patch" not in texts_of(reader, node_of(patches=paths))


def test_a_changed_file_is_read_again(reader: InputsReader, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("1\n")
    node = sources(Source("a", file=path))
    hashes = [own_hash(reader, node)]
    path.write_text("2\n")
    hashes.append(own_hash(reader, node))  # one build uses one content
    fresh = InputsReader(reader.store, reader.writer, reader.toolchain)
    hashes.append(own_hash(fresh, node))
    os.utime(path, ns=(5, 5))
    fresh = InputsReader(reader.store, reader.writer, reader.toolchain)
    hashes.append(own_hash(fresh, node))
    assert hashes[0] == hashes[1] != hashes[2] == hashes[3]
