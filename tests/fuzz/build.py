"""Parsers of records, recipes and tasks: definitions, build lists, scripts and settings."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from prov.errors import ProvError, RecipeError, StoreError
from prov.recipes.project import Project
from prov.recipes.recipe import Setting
from prov.recipes.shell_reader import Names, names_in
from prov.recipes.variables import expand
from prov.records.build_list import BuildList, Line, decode_tasks, encode_tasks
from prov.records.ids import CommitId
from prov.records.keys import TaskKey
from prov.records.keyvalue import decode_lines, encode_lines
from prov.records.lookup import Records
from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY, MODE_FILE, Commit, Entry, Identity, Oid
from prov.tasks.definition import read_definition
from prov.tasks.recorded import make_node, own_inputs, read_task
from prov.tasks.taskhash import HashOnly
from prov.text import parse_size
from tests.fuzz.common import Memory, keys, names, oids, scratch, text, texts, words
from tests.fuzz.parser import Parser

KEY = "zlib:compile"
BY = Identity("prov", "prov@localhost", 1_700_000_000)

# records


def definition_table(more: dict[str, Any]) -> dict[str, Any]:
    sources = [
        {
            "name": "a.tar",
            "url": "https://example.org/a.tar",
            "sha256": "0" * 64,
            "git": "",
            "commit": "",
        }
    ]
    return {
        "format": 1,
        "version": "1.0",
        "arch": "target",
        "arch_name": "x86_64",
        "chain": "compile",
        "after": ["zlib:configure"],
        "from": [],
        "needs": ["gcc:populate_sysroot"],
        "direct": [],
        "staging": [""],
        "task": {
            "dir": "${WORKDIR}",
            "outputdir": ["image"],
            "inputs": ["sources"],
            "interpreter": "sh",
            "hosttools": ["sh"],
            "network": False,
            "deploy": False,
        },
        "export": ["CC"],
        "sysroot_owner": {"usr/bin/ar": "binutils"},
        "excluded": {"DATE": "1", "SOURCES": json.dumps(sources)},
        "programs": [["sh", "/bin/sh"]],
        "sources": [["a.c", MODE_FILE, "11" * 20, ""], ["d", 0o40755, "11" * 20, "22" * 20]],
        "patches": [],
        **more,
    }


definitions = st.builds(
    definition_table,
    st.fixed_dictionaries(
        {}, optional={"version": texts, "staging": st.lists(texts, max_size=2), "chain": words}
    ),
).map(lambda table: json.dumps(table, indent=0).encode())


def run_of(
    memory: Memory, definition: bytes, edge: bytes = b"33" * 20 + b"\n", record: bytes = b""
) -> Oid:
    """Add a run to an object database; `edge` is the text of its edges, `record` of its record."""
    blob = memory.put("blob", edge)
    after = memory.put_tree([Entry(b"configure", MODE_FILE, blob)])
    needs = memory.put_tree([Entry(b"gcc:populate_sysroot", MODE_FILE, blob)])
    variables = memory.put_tree([Entry(b"X", MODE_FILE, memory.put("blob", b"1"))])
    tools = memory.put("blob", EMPTY_TREE.hex().encode() + b"\n")
    inputs = memory.put_tree(
        [
            Entry(b"after", MODE_DIRECTORY, after),
            Entry(b"needs", MODE_DIRECTORY, needs),
            Entry(b"variables", MODE_DIRECTORY, variables),
            Entry(b"host-toolchain", MODE_FILE, tools),
        ]
    )
    memory.put("tree", b"")
    entries = [
        Entry(b"inputs", MODE_DIRECTORY, inputs),
        Entry(b"definition", MODE_FILE, memory.put("blob", definition)),
    ]
    entries.append(Entry(b"record", MODE_FILE, memory.put("blob", record)))
    held = memory.put("commit", Commit(memory.put_tree(entries), (), BY, "record\n").encode())
    start = memory.put("commit", Commit(EMPTY_TREE, (), BY, "nothing\n").encode())
    return memory.put("commit", Commit(EMPTY_TREE, (start, held), BY, "run\n").encode())


def rerun(definition: bytes, edge: bytes = b"33" * 20 + b"\n") -> object:
    """Convert a recorded task to one that can run again."""
    memory = Memory()
    store: Any = SimpleNamespace(objects=memory)
    task = read_task(store, TaskKey(KEY), run_of(memory, definition, edge))
    own_inputs(memory, HashOnly(), task)
    return make_node(memory, task)


DEFINITION = json.dumps(definition_table({})).encode()


def read_inputs_tree(data: bytes) -> object:
    """Read a run whose inputs are a tree and whose files all have one text."""
    memory = Memory()
    inputs = memory.put("tree", data)
    entries = [
        Entry(b"inputs", MODE_DIRECTORY, inputs),
        Entry(b"definition", MODE_FILE, memory.put("blob", DEFINITION)),
    ]
    held = memory.put("commit", Commit(memory.put_tree(entries), (), BY, "record\n").encode())
    run = memory.put("commit", Commit(EMPTY_TREE, (held, held), BY, "run\n").encode())
    store: Any = SimpleNamespace(objects=memory)
    return read_task(store, TaskKey(KEY), run)


def read_run_commit(data: bytes) -> object:
    """Read all properties of a run with this commit."""
    memory = Memory()
    memory.put("tree", b"")
    oid = memory.put("commit", data)
    store: Any = SimpleNamespace(objects=memory)
    records = Records(store)
    for ask in (records.facts, records.record, records.workdir):
        try:
            ask(oid)
        except StoreError:
            continue
    return read_task(store, TaskKey(KEY), oid)


# builds

zlib_tasks = names.map(partial(TaskKey.of, "zlib"))
lines = st.builds(Line, zlib_tasks, oids, st.none() | oids, st.integers(0, 99))
task_lists = st.lists(lines, max_size=4)


def build_of(memory: Memory, text: bytes, tasks: bytes) -> Oid:
    blob = memory.put("blob", text)
    listed = memory.put("tree", tasks)
    files = (b"build", b"happened", b"timeline", b"recipes", b"reasons")
    entries = [
        Entry(b"tasks", MODE_DIRECTORY, listed),
        *(Entry(name, MODE_FILE, blob) for name in files),
    ]
    return memory.put("commit", Commit(memory.put_tree(entries), (), BY, "build\n").encode())


def ask_build(build: BuildList) -> object:
    error = None
    asks: tuple[Any, ...] = (
        build.facts,
        build.happened,
        build.reasons,
        build.versions,
        build.seconds,
        build.recipes,
        build.timeline,
        lambda: build.line(TaskKey(KEY)),
        lambda: build.newest_line(TaskKey(KEY)),
        lambda: build.kept(TaskKey(KEY)),
        lambda: build.differing(build),
    )
    for ask in asks:
        try:
            ask()
        except StoreError as damage:
            error = damage
    if error is not None:
        raise error
    return build


def read_build(data: bytes) -> object:
    memory = Memory()
    store: Any = SimpleNamespace(objects=memory)
    return ask_build(BuildList(store, CommitId(build_of(memory, data, b""))))


def read_build_tasks(data: bytes) -> object:
    memory = Memory()
    store: Any = SimpleNamespace(objects=memory)
    return ask_build(BuildList(store, CommitId(build_of(memory, b"", data))))


build_texts = st.lists(
    st.builds("{} {} {} {}".format, keys, st.floats(0, 9), st.floats(0, 9), st.integers(0, 9)),
    max_size=3,
).map(lambda rows: "".join(f"{row}\n" for row in rows).encode())


# scripts and recipes

fragments = st.sampled_from(
    [
        "X=1",
        "echo $X",
        'echo "${X:-$Y}"',
        "$((X + 1))",
        "f() { echo $A; }",
        "( cd a; b )",
        "if a; then b; fi",
        "case $X in a) b ;; esac",
        "for x in a; do b; done",
        "cat <<E\n$X\nE",
        "echo `a \\`b\\``",
        "a > b 2>&1",
        "[ -n $X ]",
        "export A=1",
        "a && b || c",
        "# it's",
        "'a'",
        "$'a\\n'",
        "\\\n",
        ";",
        "|",
        "&",
        "{ a; }",
        "((",
        "$((",
        ")",
        "${",
        "`",
    ]
)
scripts = st.lists(fragments, max_size=8).map(lambda each: "\n".join(each).encode())


def read_script(data: bytes) -> Names:
    names_in.cache_clear()
    return names_in(text(data))


settings_rows = st.lists(
    st.tuples(st.sampled_from("ABC"), st.sampled_from(["1", "${B}", "${C} ${C}", "$X"])), max_size=4
)


def expand_rows(data: bytes) -> str:
    """Expand every variable of lines NAME VALUE."""
    rows = [line.partition(" ")[::2] for line in text(data).split("\n") if line]
    settings = {name: Setting(value, "here") for name, value in rows}
    return "".join(expand(f"${{{name}}}", settings, where="here") for name in settings)


RECIPE = """\
name = "zlib"
version = "1.2"
arch = "target"
depends = ["gcc"]
classextend = ["native"]
provides = ["libz"]
export = ["CC"]
sysroot = "task"
[variables]
X = "1"
[functions]
f = "echo"
[native]
inherit = []
[sysroot_owner]
"/usr/bin/ar" = "binutils"
[[sources]]
url = "https://example.org/zlib.tar"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
[[sources]]
git = "https://example.org/zlib.git"
commit = "0000000000000000000000000000000000000000"
name = "z"
[[sources]]
file = "zlib.c"
exclude = ["*.o"]
[tasks.compile]
script = "make"
after = ["configure"]
outputdir = ["image"]
inputs = ["sources"]
network = false
[packages.zlib]
files = ["/usr"]
"""
PROJECT = """\
recipes = ["recipes"]
classes = ["classes"]
builddir = "build"
machine = "qemu"
arch = "x86_64"
sandbox = "none"
environment = ["LANG"]
exclude = ["*.o"]
[gc]
keep_builds = 5
[provider]
libz = "zlib"
[variables]
X = "2"
[recipe.zlib.variables]
X = "3"
"""


def load_project(project: bytes, recipe: bytes) -> object:
    """Read a project's settings and its only recipe, and create all that they describe."""
    root = scratch("project")
    (root / "recipes").mkdir(exist_ok=True)
    (root / "prov.toml").write_bytes(project)
    (root / "recipes/zlib.toml").write_bytes(recipe)
    loaded = Project.load(root)
    return [loaded.recipe(name) for name in loaded.known_names()]


def read_script_file(data: bytes) -> object:
    root = scratch("project")
    (root / "recipes").mkdir(exist_ok=True)
    (root / "recipes/make.sh").write_bytes(data)
    return load_project(b"", b'version = "1"\n[tasks.make]\nscript_file = "make.sh"\n')


sizes = st.builds("{}{}".format, st.integers(0, 9999), st.sampled_from(["", "K", "M", "GB", " T"]))
environments = st.dictionaries(words, texts, max_size=3)


PARSERS = [
    Parser(
        "definition.read_definition",
        lambda data: read_definition(data, TaskKey(KEY)),
        StoreError,
        definitions,
    ),
    Parser("recorded.read_task, own_inputs, make_node", rerun, StoreError, definitions),
    Parser(
        "recorded.read_task (texts of edges)",
        lambda data: rerun(DEFINITION, data),
        StoreError,
        oids.map(lambda oid: oid.hex().encode() + b"\n"),
    ),
    Parser(
        "recorded.read_task (tree of inputs)",
        read_inputs_tree,
        StoreError,
        st.just(b""),
        valid=False,
    ),
    Parser(
        "record.Records (commit)",
        read_run_commit,
        StoreError,
        st.builds(Commit, oids, st.lists(oids, max_size=2).map(tuple), st.just(BY), texts),
        Commit.encode,
        valid=False,
    ),
    Parser(
        "builds.decode_tasks",
        lambda data: decode_tasks("zlib", data),
        StoreError,
        task_lists,
        encode_tasks,
        inverse=True,
    ),
    Parser("builds.BuildList (texts)", read_build, StoreError, build_texts),
    Parser("builds.BuildList (tree of tasks)", read_build_tasks, StoreError, st.just(b"")),
    Parser(
        "lines.decode_lines",
        lambda data: decode_lines(data, "="),
        None,
        environments,
        lambda table: encode_lines(table, "="),
        inverse=True,
    ),
    Parser("shell.names_in", read_script, None, scripts),
    Parser(
        "variables.expand",
        expand_rows,
        RecipeError,
        settings_rows,
        lambda rows: "".join(f"{name} {value}\n" for name, value in rows).encode(),
        valid=False,
    ),
    Parser(
        "recipe (TOML)",
        lambda data: load_project(b"", data),
        ProvError,
        st.just(RECIPE.encode()),
        valid=False,
    ),
    Parser(
        "project (TOML)",
        lambda data: load_project(data, RECIPE.encode()),
        ProvError,
        st.just(PROJECT.encode()),
        valid=False,
    ),
    Parser("project (script_file)", read_script_file, RecipeError, scripts),
    Parser(
        "keys.TaskKey.parse",
        lambda data: TaskKey.parse(text(data)).encode(),
        ProvError,
        keys.map(str.encode),
        canonical=bytes,
    ),
    Parser(
        "files.parse_size", lambda data: parse_size(text(data)), ProvError, sizes.map(str.encode)
    ),
]
