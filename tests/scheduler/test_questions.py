"""Tests that questions of a build are answered once and only needed tasks run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import StoreError
from prov.recipes.graph import Graph
from prov.records.build_list import Kept
from prov.records.keys import TaskKey
from prov.records.outcomes import Outcome
from prov.scheduler.plan import Choices, Follow, Plan, make_plan
from prov.store.repository import Store
from prov.tasks.taskhash import OwnInputs
from tests.scheduler.builds import Build, Everywhere, remote_of
from tests.scheduler.test_plan import LIB, graph, own

COMPILE, INSTALL = TaskKey("lib:compile"), TaskKey("lib:install")
APP, IMAGE = TaskKey("app:compile"), TaskKey("image:image")
OTHER = {
    **LIB,
    "other:compile": {},
    "all:image": {"from": ["image:image", "other:compile"]},
}


@pytest.fixture
def whole() -> Graph:
    return graph(LIB, "image:image")


def build(
    store: Store,
    graph_: Graph,
    known: Everywhere,
    inputs: dict[TaskKey, OwnInputs] | None = None,
    choices: Choices | None = None,
) -> Build:
    """Return a simulated build of a graph."""
    plan = make_plan(graph_, inputs or own(graph_), known, choices or Choices())
    return Build(store, plan, known)


def built(store: Store, graph_: Graph) -> Everywhere:
    """Return the recorded results after a build of everything."""
    known = Everywhere()
    assert build(store, graph_, known).carry_out() is None
    return known


# tasks that run


def test_everything_runs_once(store: Store, whole: Graph) -> None:
    first = build(store, whole, Everywhere())
    assert first.carry_out() is None
    assert first.runs == list(whole.nodes)
    assert set(first.outcomes().values()) == {"ran"}
    assert first.shown.starts == first.runs
    assert first.shown.counts == [(number, len(LIB)) for number in range(1, len(LIB) + 1)]


def test_nothing_runs_again(store: Store, whole: Graph) -> None:
    again = build(store, whole, built(store, whole))
    assert again.carry_out() is None
    assert again.runs == []
    assert again.outcomes() == {"image:image": "up to date"}
    assert again.shown.ends == []


def test_a_changed_task_runs_and_an_unchanged_output_stops_there(
    store: Store, whole: Graph
) -> None:
    known = built(store, whole)
    edited = build(store, whole, known, own(whole, lib_install="edited"))
    assert edited.carry_out() is None
    assert edited.runs == [INSTALL]
    # the others are skipped: no task asks for those in between
    assert edited.outcomes() == {"lib:install": "ran", "image:image": "cut off"} | {
        key: "cut off" for key in ("app:compile", "app:install") if key in edited.outcomes()
    }
    edited.ledger.cut_off_the_rest(edited.plan)
    assert edited.outcomes()["app:install"] == "cut off"


def test_a_changed_output_runs_dependents(store: Store, whole: Graph) -> None:
    known = built(store, whole)
    edited = build(store, whole, known, own(whole, lib_install="edited"))
    edited.texts = {INSTALL: "changed"}
    assert edited.carry_out() is None
    assert edited.runs == [INSTALL, APP, TaskKey("app:install"), IMAGE]


def test_a_forced_task_runs_even_if_recorded(store: Store, whole: Graph) -> None:
    known = built(store, whole)
    forced = build(store, whole, known, choices=Choices(force=frozenset(["app:compile"])))
    assert forced.carry_out() is None
    # tasks that continue in its WORKDIR are forced too
    assert forced.runs == [APP, TaskKey("app:install")]
    assert forced.outcomes()["image:image"] == "cut off"


@pytest.mark.parametrize(("follow", "number"), [("changed", 2), ("always", 4)])
def test_tasks_that_follow_a_run(store: Store, whole: Graph, follow: Follow, number: int) -> None:
    known = built(store, whole)
    choices = Choices(force=frozenset(["lib:compile"]), follow=follow)
    forced = build(store, whole, known, choices=choices)
    assert forced.carry_out() is None
    assert forced.runs[:2] == [COMPILE, INSTALL]
    assert (len(forced.runs) > 2) == (follow == "always")
    assert len(forced.runs) >= number


def test_a_stale_output_is_used(store: Store, whole: Graph) -> None:
    known = built(store, whole)
    first = build(store, whole, known).plan

    def last(key: TaskKey) -> Kept | None:
        step = first.steps[key]
        assert step.task_hash is not None
        assert step.output is not None
        entries = frozenset((entry.name, entry.oid) for entry in first.own[key].entries)
        after = {
            edge.task: (first.steps[edge].task_hash or b"").hex() for edge in whole.nodes[key].after
        }
        return Kept(step.task_hash, step.output, entries, after)

    inputs = own(whole, lib_install="edited")
    plan = make_plan(whole, inputs, known, Choices(follow="never"), last)
    stale = Build(store, plan, known, texts={INSTALL: "changed"})
    assert stale.carry_out() is None
    assert stale.outcomes()["image:image"] == "stale"
    assert INSTALL not in stale.runs
    assert stale.questions.stands_on_impure(whole.nodes[IMAGE]) == any(
        plan.steps[edge].action == "stale" for edge in whole.nodes[IMAGE].edges
    )


# failures


def test_dependents_of_a_failed_task_are_not_built(store: Store) -> None:
    both = graph(OTHER, "all:image")
    failing = build(store, both, Everywhere())
    failing.failing = {"lib:install"}
    assert failing.carry_out() is None
    assert [result.key for result in failing.ledger.failed] == [INSTALL]
    # tasks that do not depend on it are still built
    assert set(failing.runs) == {COMPILE, INSTALL, TaskKey("other:compile")}
    assert "lib:install" not in failing.outcomes()
    summary = failing.ledger.summary(failing.plan, seconds=1.0, interrupted=False)
    assert summary.not_built == [TaskKey("all:image")]


def test_a_failed_task_runs_once(store: Store) -> None:
    two = graph({**LIB, "two:image": {"from": ["app:install"]}}, "image:image", "two:image")
    failing = build(store, two, Everywhere())
    failing.failing = {"app:install"}
    assert failing.carry_out() is None
    assert failing.runs.count(TaskKey("app:install")) == 1


def test_an_error_not_caused_by_a_task_is_returned(store: Store, whole: Graph) -> None:
    failing = build(store, whole, Everywhere())
    failing.failing = {"lib:install"}
    failing.error = StoreError("the disk is full")
    assert failing.carry_out() is failing.error
    assert APP not in failing.runs


# outputs at remotes


def away(store: Store, whole: Graph, key: TaskKey) -> tuple[Everywhere, dict[TaskKey, OwnInputs]]:
    """Return results of which one is only at a remote, and inputs that need it."""
    known = built(store, whole)
    plan = make_plan(whole, own(whole), known, Choices())
    step = plan.steps[key]
    assert step.task_hash is not None
    known.outputs_away.add((key, step.task_hash))
    return known, own(whole, image_image="edited")


def fetching(store: Store, whole: Graph, known: Everywhere, plan: Plan) -> Build:
    return Build(store, plan, known, fetcher=remote_of(store, known))


def test_an_output_is_fetched_if_needed(store: Store, whole: Graph) -> None:
    install = TaskKey("app:install")
    known, inputs = away(store, whole, install)
    plan = make_plan(whole, inputs, known, Choices())
    fetched = fetching(store, whole, known, plan)
    assert fetched.carry_out() is None
    assert fetched.runs == [IMAGE]
    assert fetched.outcomes()[install] == "fetched"
    assert fetched.fetcher is not None
    assert fetched.fetcher.fetches == [(install, False)]


def test_an_output_that_vanished_is_made(store: Store, whole: Graph) -> None:
    install = TaskKey("app:install")
    known, inputs = away(store, whole, install)
    plan = make_plan(whole, inputs, known, Choices())
    lost = fetching(store, whole, known, plan)
    assert lost.fetcher is not None
    lost.fetcher.vanished = {install}

    def forget(key: TaskKey, oid: bytes) -> None:
        known.outputs = {pair: output for pair, output in known.outputs.items() if pair[1] != oid}
        known.outputs_away.clear()

    lost.fetcher.lost = forget
    assert lost.carry_out() is None
    assert lost.runs == [install, IMAGE]
    assert lost.outcomes()[install] == "ran"


def test_a_different_remote_may_have_a_vanished_output(store: Store, whole: Graph) -> None:
    install = TaskKey("app:install")
    known, inputs = away(store, whole, install)
    lost = fetching(store, whole, known, make_plan(whole, inputs, known, Choices()))
    assert lost.fetcher is not None
    lost.fetcher.vanished = {install}
    remote = lost.fetcher

    def appear(key: TaskKey, _oid: bytes) -> None:
        remote.vanished.discard(key)

    remote.lost = appear
    assert lost.carry_out() is None
    assert lost.runs == [IMAGE]
    assert lost.fetcher.fetches == [(install, False)] * 2
    assert lost.outcomes()[install] == "fetched"


# WORKDIRs


def test_a_recorded_workdir_is_not_made_again(store: Store, whole: Graph) -> None:
    known = built(store, whole)
    edited = build(store, whole, known, own(whole, app_install="edited"))
    assert edited.carry_out() is None
    assert edited.runs == [TaskKey("app:install")]


def test_a_collected_workdir_is_made_again(store: Store, whole: Graph) -> None:
    known = built(store, whole)
    known.workdirs.clear()
    edited = build(store, whole, known, own(whole, app_install="edited"))
    assert edited.carry_out() is None
    assert edited.runs == [APP, TaskKey("app:install")]
    # its output existed all the time
    assert INSTALL not in edited.runs


@pytest.mark.parametrize("vanished", [False, True])
def test_a_workdir_is_fetched(store: Store, whole: Graph, *, vanished: bool) -> None:
    known = built(store, whole)
    known.workdirs_away_, known.workdirs = known.workdirs, set()
    plan = make_plan(whole, own(whole, app_install="edited"), known, Choices())
    fetched = fetching(store, whole, known, plan)
    assert fetched.fetcher is not None
    fetched.fetcher.vanished = {APP} if vanished else set()
    assert fetched.carry_out() is None
    assert (APP, True) in fetched.fetcher.fetches
    assert (APP in fetched.runs) == vanished


# leftovers


def test_an_incremental_recipe_starts_from_leftovers(store: Store, whole: Graph) -> None:
    known = built(store, whole)
    choices = Choices(incremental=frozenset(["app"]))
    inputs = own(whole, app_install="edited")
    leftovers = build(store, whole, known, inputs, choices)
    assert not leftovers.questions.starts_clean(APP)
    assert leftovers.questions.starts_clean(COMPILE)
    assert leftovers.carry_out() is None
    assert leftovers.runs[0] == TaskKey("app:install")
    # tasks that use an output made from leftovers are impure too
    assert leftovers.questions.stands_on_impure(whole.nodes[IMAGE])
    assert IMAGE in leftovers.questions.impure
    assert not leftovers.questions.stands_on_impure(whole.nodes[INSTALL])


# builds after edits equal clean builds

texts = st.sampled_from(["a", "A", "b"])


@given(
    st.fixed_dictionaries(dict.fromkeys(LIB, texts)),
    st.lists(st.tuples(st.sampled_from(sorted(LIB)), texts), max_size=5),
    st.booleans(),
)
def test_builds_after_edits_equal_clean_ones(
    store: Store, start: dict[str, str], edits: list[tuple[str, str]], workdirs: bool
) -> None:
    whole = graph(LIB, "image:image")
    current, known = dict(start), Everywhere()
    for key, text in [("lib:compile", start["lib:compile"]), *edits]:
        current[key] = text
        result = _build_texts(store, whole, known, current)
        clean = _build_texts(store, whole, Everywhere(), current)
        assert _target(result) == _target(clean)
        assert len(set(result.runs)) == len(result.runs)
        assert set(result.runs) <= {step.key for step in result.plan.work}
        assert result.plan_again().work == []
        if not workdirs:
            known.workdirs.clear()


def _build_texts(store: Store, whole: Graph, known: Everywhere, current: dict[str, str]) -> Build:
    """Build with a text as the only input of each task."""
    inputs = own(whole, **{key.replace(":", "_"): text for key, text in current.items()})
    plan = make_plan(whole, inputs, known, Choices())
    by_key = {TaskKey(key): text for key, text in current.items()}
    result = Build(store, plan, known, texts=by_key)
    assert result.carry_out() is None
    return result


def _target(result: Build) -> bytes | None:
    settled = result.ledger.settled[IMAGE]
    assert settled.what in set(Outcome)
    return settled.output


def test_an_unrequested_id_is_not_answered(store: Store, whole: Graph) -> None:
    asked = build(store, whole, Everywhere())
    with pytest.raises(KeyError):
        asked.questions.output_of(IMAGE)
