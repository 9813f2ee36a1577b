"""Tests of writing and reading a run's definition, and of rejecting invalid ones."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import StoreError
from prov.recipes.graph import Node
from prov.recipes.recipe import Recipe, Setting, Task
from prov.recipes.variables import Reached
from prov.records.keys import TaskKey
from prov.store.objects import MODE_FILE
from prov.tasks.definition import define, read_definition
from prov.tasks.taskhash import LocalFile, OwnInputs
from prov.tasks.toolchain import Toolchain
from prov.worktree.attributes import FileNode, Pair

ONE, TWO = b"\1" * 20, b"\2" * 20
KEY = TaskKey("app:compile")
TASK = Task(
    "compile",
    "make",
    interpreter="sh",
    dir="${S}",
    outputdir=("image",),
    hosttools=("@toolchain", "tar"),
    vardepsexclude=("DATE",),
    network=True,
)
RECIPE = Recipe(
    "app",
    "1.0",
    "target",
    Path("app.toml"),
    export=("CC",),
    variables={
        "DATE": Setting("today", "app.toml"),
        "SOURCES": Setting('[{"name": "a"}]', "prov"),
        "S": Setting("x", "app.toml"),
    },
    tasks={"compile": TASK},
    sysroot_owner={b"usr/bin/ar": "binutils", b"usr/\xff": "other"},
)
NODE = Node(
    KEY,
    RECIPE,
    TASK,
    "x86_64",
    after=(TaskKey("app:unpack"),),
    from_=(TaskKey("lib:install"),),
    needs=(TaskKey("zlib:stage"), TaskKey("tool:stage")),
    direct=frozenset((TaskKey("zlib:stage"), TaskKey("tool:stage"))),
    staging=("zlib:stage target image", "tool:stage direct image"),
)
OWN = OwnInputs(
    (),
    Reached(("DATE", "S", "SOURCES"), ()),
    Toolchain(ONE, (("gcc", "/usr/bin/gcc"), ("tar", "/bin/tar"))),
    sources=(
        LocalFile("src", FileNode(stat.S_IFDIR | 0o755, pair=Pair(ONE, TWO))),
        LocalFile("a\udcff.c", FileNode(stat.S_IFREG | 0o644, TWO)),
    ),
    patches=(LocalFile("fix.patch", FileNode(stat.S_IFLNK | 0o777, ONE)),),
)
WRITTEN = (
    r"""{
"after": ["app:unpack"],
"arch": "target",
"arch_name": "x86_64",
"chain": "unpack",
"direct": ["tool:stage", "zlib:stage"],
"excluded": {"DATE": "today", "SOURCES": "[{\"name\": \"a\"}]"},
"export": ["CC"],
"format": 1,
"from": ["lib:install"],
"needs": ["zlib:stage", "tool:stage"],
"patches": [["fix.patch", 41471, "ONE", ""]],
"programs": [["gcc", "/usr/bin/gcc"], ["tar", "/bin/tar"]],
"sources": [["src", 16877, "ONE", "TWO"], ["a\udcff.c", 33188, "TWO", ""]],
"staging": ["zlib:stage target image", "tool:stage direct image"],
"sysroot_owner": {"usr/bin/ar": "binutils", "usr/\udcff": "other"},
"task": {"deploy": false, "dir": "${S}", "hosttools": ["@toolchain", "tar"], "inputs": [], """
    r""""interpreter": "sh", "network": true, "outputdir": ["image"]},
"version": "1.0"
}
"""
)


def written() -> bytes:
    return WRITTEN.replace("ONE", ONE.hex()).replace("TWO", TWO.hex()).encode()


def test_the_text_of_a_definition_never_changes() -> None:
    assert define(NODE, "unpack", OWN) == written()


def test_a_definition_is_read_back() -> None:
    definition = read_definition(written(), KEY)
    assert (definition.version, definition.arch, definition.arch_name, definition.chain) == (
        "1.0",
        "target",
        "x86_64",
        "unpack",
    )
    assert (definition.after, definition.from_, definition.needs) == (
        NODE.after,
        NODE.from_,
        NODE.needs,
    )
    assert definition.direct == ("tool:stage", "zlib:stage")
    assert definition.staging == NODE.staging
    assert Task(name="compile", script="make", vardepsexclude=("DATE",), **definition.task) == TASK
    assert definition.export == ("CC",)
    assert definition.sysroot_owner == {"usr/bin/ar": "binutils", "usr/\udcff": "other"}
    assert definition.excluded == {"DATE": "today", "SOURCES": '[{"name": "a"}]'}
    assert definition.programs == OWN.toolchain.programs
    assert definition.sources == OWN.sources
    assert definition.patches == OWN.patches


def test_a_key_of_a_newer_prov_is_ignored() -> None:
    table = json.loads(written()) | {"new": 1, "\udc00": 2}
    with pytest.raises(StoreError):  # prov never writes such a name
        read_definition(json.dumps(table).encode(), KEY)
    table.pop("\udc00")
    assert read_definition(json.dumps(table).encode(), KEY).version == "1.0"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (b"", "cannot rerun app:compile: its record has no task definition", "prov checkout"),
        (b'{"format": 2}', "recorded by a newer prov", "update prov"),
        (b"{}", "invalid record of app:compile", "prov forget"),
        (b"[]", "invalid record of app:compile", "prov forget"),
        (b"\xff", "invalid record of app:compile", "prov forget"),
        (b"[" * 100_000, "invalid record of app:compile", "prov forget"),
        (b'{"format": "1"}', "invalid record of app:compile", "prov forget"),
        (b'{"format": 1}', "invalid record of app:compile", "prov forget"),
    ],
)
def test_an_invalid_definition(text: bytes, message: str, hint: str) -> None:
    with pytest.raises(StoreError) as raised:
        read_definition(text, KEY)
    assert message in str(raised.value)
    assert KEY in str(raised.value)
    assert hint in raised.value.hint


FORGED: list[tuple[str, Any]] = [
    ("version", 1),
    ("arch_name", "../x"),
    ("arch_name", "a/b"),
    ("arch_name", ".git"),
    ("arch_name", ""),
    ("chain", "a..b"),
    ("chain", "unpack\n"),
    ("after", ["other:unpack"]),
    ("after", ["app:compile"]),
    ("after", "app:unpack"),
    ("from", ["lib"]),
    ("from", ["lib:a:b"]),
    ("from", ["../lib:a"]),
    ("needs", ["lib:../a"]),
    ("needs", [None]),
    ("direct", ["/lib:a"]),
    ("staging", [1]),
    ("export", ["A B"]),
    ("export", ["A\n"]),
    ("excluded", {"A;B": "x"}),
    ("excluded", {"A": 1}),
    ("excluded", {"SOURCES": "[1]"}),
    ("excluded", {"SOURCES": "{"}),
    ("excluded", []),
    ("sysroot_owner", {"a": 1}),
    ("programs", [["gcc", "bin/gcc"]]),
    ("programs", [["a/b", "/bin/gcc"]]),
    ("programs", [["..", "/bin/gcc"]]),
    ("programs", [["gcc", "/bin/\0"]]),
    ("programs", [["\ud800", "/bin/gcc"]]),
    ("programs", [["gcc"]]),
    ("sources", [["", MODE_FILE, ONE.hex(), ""]]),
    ("sources", [["a/b", MODE_FILE, ONE.hex(), ""]]),
    ("sources", [["a", 0o010644, ONE.hex(), ""]]),
    ("sources", [["a", 2**70, ONE.hex(), ""]]),
    ("sources", [["a", True, ONE.hex(), ""]]),
    ("sources", [["a", MODE_FILE, "00", ""]]),
    ("patches", [["a", 0o040755, ONE.hex(), "xx"]]),
    ("patches", [["a", 0o040755, ONE.hex()]]),
    ("task", {}),
]


@pytest.mark.parametrize(("name", "value"), FORGED)
def test_a_forged_value_is_rejected(name: str, value: Any) -> None:
    text = json.dumps(json.loads(written()) | {name: value}).encode()
    with pytest.raises(StoreError, match="invalid record of") as raised:
        read_definition(text, KEY)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("interpreter", "perl"), ("dir", 1), ("network", 1), ("outputdir", "image"), ("inputs", [0])],
)
def test_a_forged_field_of_the_task_is_rejected(name: str, value: Any) -> None:
    table = json.loads(written())
    table["task"][name] = value
    with pytest.raises(StoreError, match="invalid record of"):
        read_definition(json.dumps(table).encode(), KEY)


@pytest.mark.parametrize("key", ["app", "app:", "../app:compile", "app:a/b"])
def test_a_key_that_cannot_be_part_of_a_path_is_rejected(key: str) -> None:
    with pytest.raises(StoreError):
        read_definition(written(), TaskKey(key))


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]))).map(tuple)


@given(NAMES.filter(lambda name: name not in (".", "..")), TEXTS, st.text(), st.booleans())
def test_any_definition_is_read_back(
    name: str, staging: tuple[str, ...], value: str, deploy: bool
) -> None:
    task = replace(TASK, deploy=deploy, hosttools=staging)
    recipe = replace(RECIPE, variables={"DATE": Setting(value, "test")}, version=value)
    node = replace(NODE, recipe=recipe, task=task, staging=staging)
    own = replace(OWN, patches=(LocalFile(name, FileNode(stat.S_IFREG | 0o644, ONE)),))
    text = define(node, "unpack", own)
    definition = read_definition(text, KEY)
    assert (definition.version, definition.excluded) == (value, {"DATE": value})
    assert (definition.staging, definition.patches) == (staging, own.patches)
    assert (definition.task["hosttools"], definition.task["deploy"]) == (staging, deploy)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    ),
    st.sampled_from(sorted(json.loads(WRITTEN))),
)
def test_no_value_causes_a_bug(value: Any, name: str) -> None:
    """A value of a wrong type is either read or raises StoreError, never another exception."""
    text = json.dumps(json.loads(written()) | {name: value}).encode()
    try:
        read_definition(text, KEY)
    except StoreError as error:
        assert error.hint
