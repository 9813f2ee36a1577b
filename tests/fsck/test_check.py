"""Damage to objects and refs is reported, git agrees, and a repair keeps everything intact."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.fsck.check import Findings, check, head_problem
from prov.fsck.packs import leave_out
from prov.fsck.repair import Repair, repair, repair_head
from prov.fsck.sources import Sources
from prov.intake.source import Content, whole_content
from prov.records.build_list import BuildList
from prov.records.ids import CommitId
from prov.records.lookup import last_number
from prov.records.refs import BUILDS, LABELS, PINS, RECORDS, TAGS, RunRef, parse_ref
from prov.store.objects import CONSTANT_IDENTITY, MODE_FILE, Commit, Entry, Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from tests.fsck.damage import contents, cut, damage, flip, git_says, whole_refs
from tests.fsck.generated_store import make_store

pytestmark = pytest.mark.process

NOTHING = Sources()


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fsck") / "store.git"
    store = make_store(path, runs=200, recipes=4)
    build = BuildList.latest(store)
    assert build is not None
    before = build.before()
    assert before is not None
    store.refs.update(
        RefUpdate(f"{LABELS}good", before.commit),
        RefUpdate(f"{PINS}{build.commit.hex()}", build.commit),
    )
    store.refs.pack(at_once=True)
    return path


@pytest.fixture
def store(generated: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(generated, tmp_path / "store.git")
    yield Store.open(tmp_path / "store.git")
    shutil.rmtree(tmp_path / "store.git")


def state(path: Path) -> dict[str, tuple[int, int]]:
    return {str(each): (each.lstat().st_mtime_ns, each.lstat().st_size) for each in path.rglob("*")}


def look(store: Store) -> Findings:
    """Check a store. It must not change, and git's findings must be reported."""
    before = state(store.path)
    found = check(Store.open(store.path))
    assert state(store.path) == before
    if git_says(store.path):
        assert found.wrong
    return found


def mend(store: Store, sources: Sources = NOTHING) -> Repair:
    """Repair a store. prov and git must then report it as clean."""
    done = repair(Store.open(store.path), sources)
    assert done.after.wrong == []
    assert git_says(store.path) == ""
    return done


def problem_texts(found: Findings, kind: str) -> list[str]:
    return [f"{each.where}: {each.what}" for each in found.wrong if each.kind == kind]


def packs(store: Store, suffix: str) -> list[Path]:
    """Return packs, or their indexes, the largest first."""
    return sorted(
        (store.path / "objects/pack").glob(f"*{suffix}"), key=lambda each: -each.stat().st_size
    )


def runs(store: Store) -> list[str]:
    refs = {name: parse_ref(name) for name in contents(store.path)}
    return [name for name, ref in refs.items() if isinstance(ref, RunRef) and not ref.failed]


def test_an_intact_store_has_no_problems(store: Store) -> None:
    assert look(store).problems == []
    done = mend(store)
    assert done.done == []


# packs


def spoil_index(index: Path) -> None:
    flip(index, index.stat().st_size // 2, 3)


def halve(path: Path) -> None:
    cut(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    cut(path, 0)


@pytest.mark.parametrize("spoil", [spoil_index, halve, empty, Path.unlink])
def test_a_damaged_or_missing_index_costs_nothing(
    store: Store, spoil: Callable[[Path], None]
) -> None:
    before = contents(store.path)
    spoil(packs(store, ".idx")[0])
    found = look(store)
    assert len(problem_texts(found, "pack")) == 1
    mend(store)
    assert contents(store.path) == before
    assert whole_refs(Store.open(store.path)) == before


def test_a_flipped_bit_costs_only_what_depends_on_that_object(store: Store) -> None:
    pack, before = packs(store, ".pack")[0], contents(store.path)
    flip(pack, pack.stat().st_size // 2, 5)
    found = look(store)
    assert len(problem_texts(found, "pack")) == 1
    (lost,) = [each for each in found.wrong if each.kind == "object"]
    assert lost.needed_by and set(lost.needed_by) <= before.keys()
    assert "in the damaged " + pack.stem in lost.what
    mend(store)
    after = contents(store.path)
    changed = {name for name, oid in before.items() if after.get(name) != oid}
    assert changed <= {*lost.needed_by, BUILDS}
    assert (store.path / "damaged" / pack.name).exists()


@pytest.mark.parametrize("spoil", [halve, empty, Path.unlink])
def test_a_truncated_or_missing_pack_costs_only_its_objects(
    store: Store, spoil: Callable[[Path], None]
) -> None:
    spoil(packs(store, ".pack")[1])
    assert problem_texts(look(store), "pack")
    mend(store)
    assert BUILDS in contents(store.path)
    BuildList(Store.open(store.path), CommitId(contents(store.path)[BUILDS])).facts()


def test_a_malformed_tree_is_removed_with_its_holders(store: Store) -> None:
    before = contents(store.path)
    with store.objects.writer() as writer:
        tree = writer.add_tree([Entry(b".git", MODE_FILE, writer.add("blob", b"x"))])
        commit = writer.add_commit(Commit(tree, (), CONSTANT_IDENTITY, "output\n"))
    name = f"refs/prov/output/a/b/{'1' * 40}"
    store.refs.update(RefUpdate(name, commit))
    _end(store)
    found = look(store)
    assert [
        each.needed_by for each in found.wrong if "malformed" in each.what and each.kind == "object"
    ] == [(name,)]
    mend(store)
    assert contents(store.path) == before


def test_missing_objects_are_fetched_from_remotes(store: Store, generated: Path) -> None:
    other, before = Store.open(generated), contents(store.path)
    for pack in packs(store, ".pack")[:2]:
        pack.unlink()

    def fetch(oid: Oid) -> Content | None:
        return Content(*other.objects.stream(oid)) if other.objects.exists(oid) else None

    mend(store, Sources(fetch=fetch))
    assert contents(store.path) == before


def test_a_wrong_object_from_a_remote_is_rejected(store: Store) -> None:
    packs(store, ".pack")[1].unlink()
    mend(store, Sources(fetch=lambda oid: whole_content("blob", b"something else")))


def test_a_lost_workdir_leaves_the_record(store: Store) -> None:
    name = next(each for each in runs(store) if "/compile/" in each)
    commit = contents(store.path)[name]
    record = store.objects.commit(commit).parents[1]
    leave_out(store, [store.objects.commit(commit).tree])
    shutil.rmtree(store.path / "damaged")
    lost = [each for each in look(store).wrong if each.kind == "object"]
    assert any(name in each.needed_by for each in lost)
    mend(store)
    after = contents(store.path)
    assert name not in after
    assert after[RECORDS + name.removeprefix(TAGS)] == record
    output = "refs/prov/output/" + name.removeprefix(TAGS).rpartition("/")[0]
    assert output in after
    assert f"\tfsck\t{name}\n" in (store.path / "pruned").read_text()


def test_constant_objects_are_computed(store: Store) -> None:
    before = contents(store.path)
    start = Commit(
        bytes.fromhex("4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
        (),
        CONSTANT_IDENTITY,
        "nothing\n",
    )
    outputs = {oid for name, oid in before.items() if name.startswith("refs/prov/output/")}
    with Store.open(store.path).objects.writer(memory=True) as writer:
        leave_out(store, [writer.add_commit(start), *outputs])
    assert look(store).wrong
    mend(store)
    after = contents(store.path)
    # the run that produced a static ref's output may be missing
    assert {name: after.get(name) for name in before if "/static/" not in name} == {
        name: oid for name, oid in before.items() if "/static/" not in name
    }


def test_a_running_build_is_left_alone(store: Store) -> None:
    packs(store, ".idx")[0].unlink()
    builder = Store.open(store.path)
    other = packs(store, ".idx")
    with builder.objects.writer() as writer:
        writer.add_blob(b"about to be held")
        with pytest.raises(StoreError, match="a build is running"):
            repair(store, NOTHING)
    assert packs(store, ".idx")[: len(other)] != []
    del writer, builder
    mend(store)


# refs


def test_head_is_rewritten(store: Store) -> None:
    (store.path / "HEAD").write_bytes(b"\0" * 20)
    assert head_problem(store.path) is not None
    assert repair_head(store.path)
    assert head_problem(store.path) is None
    assert look(store).problems == []


def point(store: Store, name: str, oid: Oid) -> None:
    store.refs.update(RefUpdate(name, oid))


def test_refs_with_wrong_targets_are_deleted(store: Store) -> None:
    refs = contents(store.path)
    run, build = runs(store)[0], refs[BUILDS]
    commit = store.objects.commit(refs[run])
    output = next(oid for name, oid in refs.items() if name.startswith("refs/prov/output/"))
    one = "1" * 40
    wrong = {
        f"refs/tags/a/b/{one}/1": output,
        f"refs/tags/c/d/{one}/1": commit.parents[1],
        f"refs/tags/outside/x86_64/a/b/{1}": output,
        f"refs/prov/output/a/b/{one}": refs[run],
        f"refs/prov/static/a/b/{one}": build,
        "refs/prov/deployed": refs[run],
        f"refs/prov/toolchain/{one}": output,
        f"refs/prov/record/a/b/{one}/1": output,
        "refs/prov/label/nonsense": output,
        f"refs/prov/pin/{one}": build,
    }
    for name, oid in wrong.items():
        point(store, name, oid)
    found = look(store)
    assert {each.where for each in found.wrong} == wrong.keys()
    mend(store)
    assert contents(store.path) == refs


def test_a_run_with_a_wrong_name_is_renamed(store: Store) -> None:
    refs, run = contents(store.path), runs(store)[0]
    wrong = run.replace("refs/tags/", "refs/tags/x")
    store.refs.update(RefUpdate(run, None), RefUpdate(wrong, refs[run]))
    assert [each.where for each in look(store).wrong] == [wrong]
    mend(store)
    assert contents(store.path) == refs


def test_refs_of_users_are_unchanged(store: Store) -> None:
    refs = contents(store.path)
    point(store, "refs/tags/v1.0", refs[BUILDS])
    point(store, "refs/heads/mine", refs[BUILDS])
    found = look(store)
    assert found.wrong == [] and len(found.problems) == 2
    mend(store)
    assert contents(store.path).keys() - refs.keys() == {"refs/tags/v1.0", "refs/heads/mine"}


def test_symbolic_and_empty_refs_are_deleted(store: Store) -> None:
    refs = contents(store.path)
    (store.path / "refs/prov/label").mkdir(parents=True, exist_ok=True)
    (store.path / "refs/prov/label/link").write_text("ref: refs/heads/builds\n")
    (store.path / "refs/prov/label/zeros").write_bytes(bytes(41))
    found = look(store)
    assert {each.where for each in found.wrong} == {"refs/prov/label/link", "refs/prov/label/zeros"}
    mend(store)
    assert contents(store.path) == refs


def test_an_output_ref_that_no_run_matches_is_corrected(store: Store) -> None:
    refs = contents(store.path)
    names = [name for name in refs if name.startswith("refs/prov/output/")]
    name = next(each for each in names if f"{each.replace('prov/output', 'tags')}/1" in refs)
    other = next(oid for each, oid in refs.items() if each in names and oid != refs[name])
    point(store, name, other)
    assert any(name in text for text in problem_texts(look(store), "ref"))
    mend(store)
    assert contents(store.path) == refs


def test_an_empty_ref_with_one_possible_target_is_restored(store: Store) -> None:
    refs = contents(store.path)
    text = (store.path / "packed-refs").read_bytes()
    run = next(
        each
        for each in runs(store)
        if refs[each] not in {oid for n, oid in refs.items() if n != each}
    )
    output = "refs/prov/output/" + run.removeprefix(TAGS).rpartition("/")[0]
    for name in (run, output, BUILDS):
        text = text.replace(
            f"{refs[name].hex()} {name}\n".encode(), b"\0" * 40 + f" {name}\n".encode()
        )
    (store.path / "packed-refs").write_bytes(text)
    assert len(problem_texts(look(store), "ref")) >= 3
    mend(store)
    after = contents(store.path)
    assert {name: after.get(name) for name in (run, output, BUILDS)} == {
        name: refs[name] for name in (run, output, BUILDS)
    }


def test_runs_outputs_and_builds_outlive_packed_refs(store: Store) -> None:
    refs = contents(store.path)
    (store.path / "packed-refs").unlink()
    assert problem_texts(look(store), "ref") == [
        "refs/heads/builds: is missing, but the store has builds"
    ]
    mend(store)
    after = contents(store.path)
    kept = ("refs/tags/", "refs/prov/output/", BUILDS)
    assert {oid for name, oid in refs.items() if name.startswith(kept)} == {
        oid for name, oid in after.items() if name.startswith(kept)
    }


def test_a_gap_in_the_numbers_is_closed(store: Store) -> None:
    refs, run = contents(store.path), runs(store)[0]
    prefix = run.rpartition("/")[0]
    failed = f"refs/tags/outside/x86_64/a/b/{3}"
    found = next(oid for name, oid in refs.items() if name in runs(store))
    store.refs.update(
        RefUpdate(run, None), RefUpdate(f"{prefix}/3", refs[run]), RefUpdate(failed, found)
    )
    assert len(problem_texts(look(store), "run number")) == 4
    mend(store)
    after = contents(store.path)
    assert after[f"{prefix}/3"] == refs[run]
    record = store.objects.commit(refs[run]).parents[1]
    ref = parse_ref(run)
    assert isinstance(ref, RunRef)
    assert last_number(Store.open(store.path), ref.key, ref.task_hash) == 3
    assert {after[f"{RECORDS}{prefix.removeprefix(TAGS)}/{number}"] for number in (1, 2)} == {
        record
    }
    assert after["refs/tags/outside/x86_64/a/b/1"] == found and failed not in after


# builds


def test_a_lost_build_leaves_those_before_and_after(store: Store) -> None:
    builds = chain(store)
    lost = builds.pop(3)
    leave_out(store, [lost[0]])
    assert look(store).wrong
    mend(store)
    after = chain(Store.open(store.path))
    assert [facts for _, facts in after] == [facts for _, facts in builds]
    assert contents(store.path)[f"{LABELS}good"] == after[1][0]
    pins = [name for name in contents(store.path) if name.startswith(PINS)]
    assert pins == [PINS + after[0][0].hex()]


def test_the_build_before_a_lost_newest_one_becomes_the_newest(store: Store) -> None:
    """A pin of the lost build is deleted."""
    lost = contents(store.path)[BUILDS]
    (before,) = store.objects.commit(lost).parents
    leave_out(store, [lost])
    mend(store)
    after = contents(store.path)
    assert after[BUILDS] == before
    assert f"{PINS}{lost.hex()}" not in after


def test_builds_without_refs_are_restored_without_their_lost_lists(store: Store) -> None:
    refs = contents(store.path)
    trees = [store.objects.commit(oid).tree for oid, _ in chain(store)]
    leave_out(
        store,
        {entry.oid for tree in trees if (entry := store.objects.entry(tree, "tasks")) is not None},
    )
    for name in (BUILDS, f"{LABELS}good", f"{PINS}{refs[BUILDS].hex()}"):
        store.refs.update(RefUpdate(name, None, refs[name]))
    assert problem_texts(look(store), "ref") == [f"{BUILDS}: is missing, but the store has builds"]
    mend(store)
    assert len(chain(store)) == len(trees)


def test_an_invalid_ref_name_is_deleted_and_its_run_renamed(store: Store) -> None:
    before, packed = contents(store.path), store.path / "packed-refs"
    name = next(each for each in runs(store) if "/compile/" in each)
    packed.write_bytes(
        packed.read_bytes().replace(
            name.encode(), name.replace("part", "p\udceb").encode(errors="surrogateescape")
        )
    )
    assert problem_texts(look(store), "ref")
    mend(store)
    assert contents(store.path) == before


def test_a_wrong_name_is_detected_after_its_objects_are_restored(store: Store) -> None:
    before, packed = contents(store.path), store.path / "packed-refs"
    name = next(each for each in runs(store) if "/compile/" in each)
    tree = store.objects.commit(before[name]).tree
    packed.write_bytes(
        packed.read_bytes().replace(
            b" " + name.encode(), b" " + name.replace("part", "qart").encode()
        )
    )
    kind, data = store.objects.read(tree)
    leave_out(store, [tree])
    done = mend(
        store, Sources(fetch=lambda oid: whole_content(kind, data) if oid == tree else None)
    )
    assert done.done
    assert contents(store.path) == before


def chain(store: Store) -> list[tuple[CommitId, dict[str, str]]]:
    """Return the builds with their messages, the newest first."""
    found, build = [], BuildList.latest(store)
    while build is not None:
        found.append((build.commit, build.facts()))
        build = build.before()
    return found


def test_an_invalid_list_is_omitted(store: Store) -> None:
    build = BuildList.latest(store)
    assert build is not None
    commit = store.objects.commit(build.commit)
    with store.objects.writer() as writer:
        tree = [entry for entry in store.objects.tree(commit.tree) if entry.name != b"tasks"]
        entry = next(entry for entry in store.objects.tree(commit.tree) if entry.name == b"tasks")
        lists = [
            *store.objects.tree(entry.oid),
            Entry(b"zzz", MODE_FILE, writer.add("blob", b"compile nonsense\n")),
        ]
        bad = replace(
            commit, tree=writer.add_tree([*tree, entry._replace(oid=writer.add_tree(lists))])
        )
        point_to = writer.add_commit(replace(bad, parents=(build.commit,)))
    point(store, BUILDS, point_to)
    _end(store)
    assert len(problem_texts(look(store), "build")) == 1
    mend(store)
    after = BuildList.latest(Store.open(store.path))
    assert after is not None
    assert after.recipes() == build.recipes()


def _end(store: Store) -> None:
    """Release the lease, as a process does when it ends."""
    if store.objects._leased >= 0:
        os.close(store.objects._leased)
        store.objects._leased = -1


# anything


@pytest.mark.parametrize("seed", range(12))
def test_intact_refs_survive_any_damage_and_repair(store: Store, seed: int) -> None:
    chance, before = random.Random(seed), contents(store.path)
    what = [damage(store.path, chance) for _ in range(chance.choice((1, 1, 2)))]
    look(store)
    mend(store)
    after = contents(store.path)
    assert whole_refs(Store.open(store.path)) == after, what
    if not any("packed-refs" in each for each in what):
        names = {name for name, oid in before.items() if after.get(name) != oid}
        assert not names or any(".pack" in each for each in what), what
