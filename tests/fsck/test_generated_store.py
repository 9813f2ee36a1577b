"""The generated store is equivalent to one written by prov's builds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from prov.recipes.variables import Reached
from prov.records.build_list import BuildList, Line, record_build
from prov.records.entries import DEFINITION, EDGES
from prov.records.ids import StaticKey
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.output import read_pair
from prov.records.refs import BUILDS, OutputRef, RunRef, StaticRef
from prov.records.run import author
from prov.store.git import run_git
from prov.store.joining import PACKS_TO_CONSOLIDATE
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.tasks.definition import read_definition
from prov.tasks.taskhash import HashOnly, OwnInputs, task_hash
from prov.worktree.attributes import FileNode, Pair, at_path, read_listing, walk, write_listing
from tests.commands import run_prov
from tests.fsck.generated_recipes import TASKS
from tests.fsck.generated_store import make_store
from tests.schema.check import read_answer

pytestmark = pytest.mark.process

RUNS, RECIPES = 1500, 7


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("made") / "store.git", runs=RUNS, recipes=RECIPES)


def tags(store: Store) -> dict[str, Oid]:
    return store.refs.list("refs/tags/")


def builds(store: Store) -> Iterator[BuildList]:
    """Yield all builds, the newest first."""
    build = BuildList.latest(store)
    while build is not None:
        yield build
        build = build.before()


def lines_of(build: BuildList) -> list[Line]:
    return [line for recipe in build.recipes() for line in build.lines(recipe).values()]


def output_of(store: Store, key: str) -> Pair:
    build = BuildList.latest(store)
    line = build.line(TaskKey(key)) if build else None
    assert line is not None and line.output is not None
    return read_pair(store.objects, line.output)


def edges_of(store: Store, inputs: Oid, kind: str) -> set[str]:
    entry = store.objects.entry(inputs, kind)
    return {each.name.decode() for each in store.objects.tree(entry.oid)} if entry else set()


def prov(store: Store, *arguments: str) -> str:
    done = run_prov(arguments[0], "--store", str(store.path), *arguments[1:])
    assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
    return done.stdout


def test_git_reports_no_problems(made: Store) -> None:
    assert run_git(made.path, ["fsck", "--strict", "--full", "--no-progress"]) == b""


def test_it_has_as_many_runs_as_asked_for_some_of_them_failed(made: Store) -> None:
    found = tags(made)
    assert len(found) == RUNS
    assert any(name.startswith("refs/tags/failed/") for name in found)
    assert {name.split("/")[3] for name in found if "/failed/" not in name} == {*TASKS, "image"}


def test_packs_are_as_consolidate_leaves_them(made: Store) -> None:
    assert len(list(made.objects.folder.glob("*.pack"))) < PACKS_TO_CONSOLIDATE
    assert list(made.objects.folder.glob("tmp*")) == []


def test_every_tag_names_a_run_of_the_task_hash_that_is_its_inputs_tree(made: Store) -> None:
    for name, commit in tags(made).items():
        recipe, task, task_hash_text, _number = (
            name.removeprefix("refs/tags/").removeprefix("failed/").split("/")
        )
        held = made.objects.commit(commit)
        assert held.message.startswith(f"{recipe}:{task}")
        inputs = made.objects.entry(made.objects.commit(held.parents[1]).tree, "inputs")
        assert inputs is not None and inputs.oid.hex() == task_hash_text


def test_a_run_starts_from_the_run_that_its_inputs_name(made: Store) -> None:
    runs = tags(made)
    for name, commit in runs.items():
        parts = name.removeprefix("refs/tags/").removeprefix("failed/").split("/")
        before = made.objects.commit(commit).parents[0]
        after = made.objects.entry(bytes.fromhex(parts[2]), "after")
        if after is None:
            assert made.objects.commit(before).message.startswith(("start from ", "nothing"))
            continue
        [edge] = made.objects.tree(after.oid)
        task_hash_before = made.objects.blob(edge.oid).decode().strip()
        prefix = f"refs/tags/{parts[0]}/{edge.name.decode()}/{task_hash_before}/"
        assert before in {oid for other, oid in runs.items() if other.startswith(prefix)}


def test_every_line_of_every_build_resolves(made: Store) -> None:
    records = Records(made)
    for build in builds(made):
        for line in lines_of(build):
            assert records.output(line.key, line.task_hash) == line.output
            commit = made.refs.get(f"{RunRef(line.key, line.task_hash, 1).prefix}/{line.run}")
            assert commit is not None
            record = made.objects.commit(made.objects.commit(commit).parents[1])
            output = made.objects.entry(record.tree, "output")
            assert output is not None and output.oid == line.output


def test_all_tasks_are_in_the_last_build(made: Store) -> None:
    latest = BuildList.latest(made)
    assert latest is not None
    assert len(lines_of(latest)) == RECIPES * len(TASKS) + 1
    assert latest.facts()["result"] == "ok"


def test_edges_name_what_the_build_has(made: Store) -> None:
    latest = BuildList.latest(made)
    assert latest is not None
    for line in lines_of(latest):
        for kind in EDGES:
            entry = made.objects.entry(line.task_hash, kind)
            for edge in made.objects.tree(entry.oid) if entry else []:
                name = edge.name.decode()
                other = latest.line(
                    TaskKey(f"{line.key.partition(':')[0]}:{name}" if kind == "after" else name)
                )
                assert other is not None
                wanted = other.task_hash if kind == "after" else other.output
                assert (
                    wanted is not None
                    and made.objects.blob(edge.oid).decode().strip() == wanted.hex()
                )


def test_builds_cut_off_and_fail_and_do_nothing(made: Store) -> None:
    happened = [what for build in builds(made) for what in build.happened().values()]
    assert {what.partition(" ")[0] for what in happened} == {"ran", "restored", "cut", "failed"}


def test_a_build_is_encoded_as_prov_does(made: Store, store: Store) -> None:
    build = BuildList.latest(made)
    assert build is not None
    commit = record_build(
        store,
        lines_of(build),
        build.happened(),
        build.facts(),
        author(0),
        timeline=build.timeline(),
        versions=build.versions(),
    )
    held, expected = made.objects.commit(build.commit), store.objects.commit(commit)
    assert (held.tree, held.message) == (expected.tree, expected.message)
    assert set(build.versions()) == set(build.recipes())


def test_a_run_holds_what_is_needed_to_run_it_again(made: Store) -> None:
    records, build = Records(made), BuildList.latest(made)
    assert build is not None
    for line in lines_of(build):
        commit = made.refs.get(f"{RunRef(line.key, line.task_hash, 1).prefix}/{line.run}")
        assert commit is not None
        definition = read_definition(records.text(commit, DEFINITION), line.key)
        edges = {
            f"{line.key.partition(':')[0]}:{name}"
            for name in edges_of(made, line.task_hash, "after")
        }
        assert set(definition.after) == edges
        assert set(definition.from_) == edges_of(made, line.task_hash, "from")
        assert set(definition.needs) == edges_of(made, line.task_hash, "needs")
        for each in (*definition.sources, *definition.patches):
            assert made.objects.exists(
                each.node.pair.tree if each.node.is_directory else each.node.oid
            )


def test_static_keys_are_those_of_the_first_build(made: Store) -> None:
    *_, first = builds(made)
    known: dict[str, Oid] = {}

    def static_key(key: str) -> Oid:
        if key not in known:
            line = first.line(TaskKey(key))
            assert line is not None
            entries, edges = [], dict[str, dict[str, str]]()
            for entry in made.objects.tree(line.task_hash):
                if (kind := entry.name.decode()) not in EDGES:
                    entries.append(entry)
                    continue
                names = [each.name.decode() for each in made.objects.tree(entry.oid)]
                own = f"{key.partition(':')[0]}:" if kind == "after" else ""
                edges[kind] = {name: static_key(own + name).hex() for name in names}
            known[key] = task_hash(HashOnly(), OwnInputs(tuple(entries), Reached((), ())), edges)
        return known[key]

    for line in lines_of(first):
        found = made.refs.get(str(StaticRef(line.key, StaticKey(static_key(line.key)))))
        assert found is not None and found == made.refs.get(
            str(OutputRef(line.key, line.task_hash))
        )


def test_attributes_are_in_the_form_that_prov_writes(made: Store) -> None:
    def written(pair: Pair, *, top: bool) -> Pair:
        listing = read_listing(made.objects, pair)
        for name, node in listing.items():
            if name != b"." and node.is_directory:
                assert node.pair.attributes is not None
                listing[name] = node._replace(pair=written(node.pair, top=False))
        assert (listing[b"."].mtime is None) == top
        return write_listing(HashOnly(), listing, mtimes=True)

    records = Records(made)
    for commit in list(tags(made).values())[::40]:
        pair = records.workdir(commit)
        assert written(pair, top=True) == pair


def test_a_file_is_followed_from_the_image_to_its_source(made: Store) -> None:
    def node(pair: Pair, path: str) -> FileNode:
        found = at_path(made.objects, pair, path.encode())
        assert found is not None
        return found

    latest = BuildList.latest(made)
    assert latest is not None
    for path, built in (("usr/bin/part03", "part03"), ("usr/share/doc/part03/README", "README")):
        part = "part03-doc" if "doc" in path else "part03"
        held = node(output_of(made, "image:image"), f"rootfs/{path}").oid
        assert node(output_of(made, "part03:package"), f"packages-split/{part}/{path}").oid == held
        assert node(output_of(made, "part03:install"), f"image/{path}").oid == held
        line = latest.line(TaskKey("part03:compile"))
        assert line is not None
        commit = made.refs.get(f"{RunRef(line.key, line.task_hash, 1).prefix}/{line.run}")
        assert commit is not None
        assert node(Records(made).workdir(commit), f"part03-1.0/{built}").oid == held
    source = made.objects.entry(
        latest.lines("part03")[TaskKey("part03:fetch")].task_hash, "sources/part03-1.0/README"
    )
    assert source is not None and source.oid == held


def test_the_image_of_64_recipes_has_hundreds_of_files(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store.git", runs=64 * len(TASKS) + 1)
    names = [
        path
        for path, each in walk(store.objects, output_of(store, "image:image"))
        if not each.is_directory
    ]
    assert len(names) > 500
    assert len(list(builds(store))) == 1


def test_prov_answers(made: Store) -> None:
    [run] = read_answer(prov(made, "log", "part02:compile", "--json", "-n", "1"))["runs"]
    assert run["tag"].startswith("part02/compile/")
    assert "src/main.c" in prov(made, "show", run["tag"])
    assert "part02-1.0/src/main.o" in prov(made, "diff", "part02:compile@before", "part02:compile")
    failed = next(name for name in tags(made) if "/failed/" in name).removeprefix("refs/tags/")
    assert "error:" in prov(made, "show", failed)


def test_the_same_arguments_make_the_same_store(tmp_path: Path) -> None:
    one, same, other = (
        make_store(tmp_path / name, runs=200, recipes=4, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one.refs.list("refs/") == same.refs.list("refs/") != other.refs.list("refs/")


@pytest.mark.parametrize(("runs", "wanted"), [(200, 5), (200, 150), (60, 90)])
def test_runs_are_spread_over_builds(tmp_path: Path, runs: int, wanted: int) -> None:
    store = make_store(tmp_path / "store.git", runs=runs, recipes=4, builds=wanted)
    assert len(tags(store)) == runs
    assert wanted <= len(list(builds(store))) <= wanted + 20
    assert run_git(store.path, ["fsck", "--strict"]) == b""


def test_there_are_no_more_recipes_than_runs_for_them(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store.git", runs=len(TASKS) + 2)
    assert len(tags(store)) == len(TASKS) + 2
    assert store.refs.get(BUILDS) is not None
    with pytest.raises(ValueError, match="too few"):
        make_store(tmp_path / "other.git", runs=len(TASKS))
