"""Tests of the choice of traced tasks, and of builds that trace them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from prov.errors import NameUnknown, ProvError
from prov.history.names import find_run
from prov.reads.reads import COMPLETE, NOT_RECORDED, Reads, decode_reads
from prov.reads.strace import Strace
from prov.recipes.graph import Graph, Node
from prov.records.entries import READS
from prov.records.ids import StaticKey
from prov.records.keys import TaskKey
from prov.records.record import read_run_record
from prov.scheduler.session import Request
from prov.scheduler.summary import RunOptions
from prov.scheduler.tracing import TracedTasks, is_sampled, named_tasks, traced_tasks
from tests.history.tiny import Tiny, Watcher
from tests.tasks.samples import node_of

PATH = "/usr/local/bin:/usr/bin:/bin"
STRACE = Strace("/usr/bin/strace", ())


def key_of(number: int) -> StaticKey:
    return StaticKey(hashlib.sha1(b"%d" % number).digest())


@pytest.mark.parametrize(
    ("sample", "least", "most"), [(0.0, 0, 0), (0.02, 5, 45), (0.5, 430, 570), (1.0, 1000, 1000)]
)
def test_a_sample_has_its_size(sample: float, least: int, most: int) -> None:
    assert least <= sum(is_sampled(key_of(number), sample) for number in range(1000)) <= most


def test_named_and_sampled_tasks_are_traced() -> None:
    named = TaskKey("a:compile")
    choice = TracedTasks(STRACE, frozenset([named]))
    assert choice.strace_for(named, key_of(1)) is STRACE
    assert choice.strace_for(TaskKey("b:compile"), key_of(1)) is None
    assert TracedTasks(STRACE, sample=1.0).strace_for(named, key_of(1)) is STRACE
    assert TracedTasks().strace_for(named, key_of(1)) is None


def graph_with(*keys: str) -> Graph:
    node: Node = node_of()
    return Graph({TaskKey(key): node for key in keys}, ())


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("a:compile", {"a:compile"}),
        ("a", {"a:compile", "a:install"}),
        ("world", {"a:compile", "a:install", "b:compile"}),
    ],
)
def test_names_of_tasks_to_trace(name: str, keys: set[str]) -> None:
    assert named_tasks(graph_with("a:compile", "a:install", "b:compile"), [name]) == keys


def test_an_unknown_task_is_not_traced() -> None:
    with pytest.raises(NameUnknown, match="the targets do not need b:installed"):
        named_tasks(graph_with("b:install"), ["b:installed"])


def test_tracing_needs_a_sandbox_and_strace(tmp_path: Path) -> None:
    named, notes = frozenset([TaskKey("a:compile")]), list[str]()
    settings = {"trace": {"sample": 0.5}}
    impossible = [(None, PATH, "without a sandbox"), ("bwrap", str(tmp_path), "not installed")]
    for sandbox, search_path, problem in impossible:
        with pytest.raises(ProvError, match=problem):
            traced_tasks(named, {}, sandbox=sandbox, search_path=search_path, note=notes.append)
        choice = traced_tasks(
            frozenset(), settings, sandbox=sandbox, search_path=search_path, note=notes.append
        )
        assert choice == TracedTasks()
        assert problem in notes.pop()
    choice = traced_tasks(frozenset(), {}, sandbox=None, search_path="", note=notes.append)
    assert choice == TracedTasks()
    assert notes == []


# real builds

NEEDS_TOOLS = pytest.mark.skipif(
    not (shutil.which("bwrap") and shutil.which("strace")), reason="no bwrap or no strace"
)
RECIPES = {
    "lib.toml": """
version = '1'
build = ['stage']
[tasks.stage]
outputdir = 'image'
script = 'mkdir -p image/usr/include; echo a > image/usr/include/a.h'
""",
    "app.toml": """
version = '1'
build = ['use']
depends = ['lib']
[tasks.start]
script = 'mkdir src; echo x > src/x'
[tasks.use]
after = ['start']
needs = ['@depends:stage']
outputdir = 'image'
script = '''
echo > made; cat made src/x "$RECIPE_SYSROOT/usr/include/a.h" > image/all
test -e "$RECIPE_SYSROOT/usr/include/none.h" || :
'''
""",
    # a traced process cannot be traced again
    "picky.toml": """
version = '1'
build = ['use']
[tasks.use]
hosttools = ['strace']
script = '''
test ! -e mark
echo > mark
strace -o /dev/null cat mark
'''
""",
}
WORKDIR = "/build/work/x86_64/app/start/"


@pytest.fixture
def project(tmp_path: Path) -> Tiny:
    project = Tiny(tmp_path, sandbox="auto")
    project.write(RECIPES)
    return project


class Notes(Watcher):
    """Collects the notes of tasks and of the build."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def build(project: Tiny, target: str, *trace: str) -> Notes:
    watcher = Notes()
    summary, _ = project.session().build(Request((target,), trace=trace), watcher, RunOptions())
    assert summary.ok, summary.failed
    return watcher


def reads_of(project: Tiny, key: str) -> Reads:
    store = project.store
    record = read_run_record(store.objects, find_run(store, key).commit)
    return decode_reads(record.text(store.objects, READS))


def uses(reads: Reads, top: str) -> dict[str, str]:
    """Return the kinds of use of the paths below a folder."""
    return {row.path.removeprefix(top): row.kinds for row in reads.rows if row.path.startswith(top)}


@NEEDS_TOOLS
@pytest.mark.process
def test_a_traced_task_lists_all_its_uses(project: Tiny) -> None:
    build(project, "app")
    watched = reads_of(project, "app:use")
    assert (watched.opens, watched.probes, watched.toolchain) == (COMPLETE, NOT_RECORDED, COMPLETE)
    assert uses(watched, WORKDIR) == {"src/x": "o"}
    assert uses(watched, "/build/sysroot/") == {"usr/include/a.h": "o"}
    assert uses(watched, "/usr/bin/")["cat"] == "*o"
    assert build(project, "app", "app:use").ran == ["app:use"]
    traced = reads_of(project, "app:use")
    assert traced.is_complete, traced
    assert uses(traced, "/build/sysroot/") == {"usr/include/a.h": "o", "usr/include/none.h": "m"}
    assert uses(traced, WORKDIR)["src/x"] == "o"
    assert "w" in uses(traced, WORKDIR)["made"]
    assert "x" in uses(traced, "/usr/bin/")["cat"]


@NEEDS_TOOLS
@pytest.mark.process
def test_all_tasks_of_a_recipe_are_traced(project: Tiny) -> None:
    build(project, "app", "app")
    assert reads_of(project, "app:start").probes == COMPLETE
    assert reads_of(project, "lib:stage").probes == NOT_RECORDED


@NEEDS_TOOLS
@pytest.mark.process
def test_a_sample_of_tasks_is_traced(project: Tiny) -> None:
    settings = project.root / "prov.toml"
    settings.write_text(settings.read_text() + "[trace]\nsample = 1\n")
    build(project, "app")
    assert reads_of(project, "lib:stage").probes == COMPLETE


@NEEDS_TOOLS
@pytest.mark.process
def test_a_task_that_fails_while_traced_runs_again_from_its_start(project: Tiny) -> None:
    watcher = build(project, "picky", "picky")
    assert watcher.ran == ["picky:use"]
    assert watcher.notes == ["picky:use: exit status 1 while traced; it ran again without strace"]
    assert reads_of(project, "picky:use").probes == NOT_RECORDED
    assert not list((project.store.cache / "workdirs").glob("*.trace"))
