"""The refs that a run receives."""

from __future__ import annotations

from prov.records.ids import StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.output import Output
from prov.records.run import Run, RunIds, author, empty_start, write_run
from prov.records.run_refs import result_refs, run_tag
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY

KEY = TaskKey("a:go")
STATIC = StaticKey(b"\1" * 20)


def recorded_run(store: Store, *, failed: bool = False) -> tuple[Run, RunIds]:
    with store.objects.writer() as writer:
        task_hash = TaskHash(writer.add_tree([]))
        output = None if failed else Output(EMPTY)
        run = Run(KEY, task_hash, empty_start(writer), EMPTY, output, b"", {}, {})
        return run, write_run(writer, run, author(1))


def test_a_result_is_found_by_both_keys(store: Store) -> None:
    run, recorded = recorded_run(store)
    store.refs.update(run_tag(store, run, recorded), *result_refs(run, recorded, STATIC))
    records = Records(store)
    assert records.output(KEY, run.task_hash) == recorded.output
    assert records.static_output(KEY, STATIC) == recorded.output
    assert records.last_run(KEY, run.task_hash) == (1, recorded.commit)
    assert run_tag(store, run, recorded).name.endswith("/2")


def test_the_ref_that_marks_a_task_as_up_to_date_is_last(store: Store) -> None:
    run, recorded = recorded_run(store)
    names = [update.name for update in result_refs(run, recorded, STATIC)]
    assert [name.split("/")[2] for name in names] == ["static", "output"]
    assert [update.name for update in result_refs(run, recorded, None)] == names[1:]


def test_a_failed_run_has_a_tag_of_its_own(store: Store) -> None:
    run, recorded = recorded_run(store, failed=True)
    assert run_tag(store, run, recorded).name.startswith("refs/tags/failed/a/go/")
