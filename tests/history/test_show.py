"""A run as text."""

from __future__ import annotations

from prov.history.names import last_run
from prov.history.show import show
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import new_run
from prov.records.run import Run, author, empty_start, write_run
from prov.store.objects import MODE_DIRECTORY, Entry
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY
from tests.history.recorded import Recorder, write_files

KEY = TaskKey("app:make")


def test_a_run_is_shown_whole(store: Store, recorder: Recorder) -> None:
    recorder.run(KEY, {"script": "make\n"}, {"app": "1", "lib/a": "2"})
    shown = show(store, last_run(store, KEY))
    assert shown.inputs == {"script": "make\n"}
    assert shown.output_paths == ["app", "lib"]
    assert (shown.log, shown.environment) == ("done\n", "LANG=C\n")
    assert (shown.facts["task"], shown.facts["result"]) == (KEY, "ok")


def test_a_failed_run_has_no_output(store: Store, recorder: Recorder) -> None:
    recorder.run(KEY, {"script": "false"}, {}, failed=True)
    shown = show(store, last_run(store, KEY))
    assert (shown.output, shown.output_paths) == ("", [])


def test_contents_of_sources_are_ids(store: Store) -> None:
    files = {"variables/CC": "gcc", "sources/a.c": "int", "patches/fix": "+1"}
    with store.objects.writer() as writer:
        folder = write_files(writer, {"x": "1"})
        tree = writer.add_tree(
            [
                *writer.tree(write_files(writer, files)),
                Entry(b"needs", MODE_DIRECTORY, write_files(writer, {"lib:make": "1" * 40})),
            ]
        )
        sources = next(entry for entry in writer.tree(tree) if entry.name == b"sources")
        both = writer.add_tree(
            [*writer.tree(sources.oid), Entry(b"folder", MODE_DIRECTORY, folder)]
        )
        rest = [entry for entry in writer.tree(tree) if entry.name != b"sources"]
        whole = writer.add_tree([*rest, Entry(b"sources", MODE_DIRECTORY, both)])
        blob = writer.add("blob", b"int").hex()
        patch = writer.add("blob", b"+1").hex()
        run = Run(KEY, TaskHash(whole), empty_start(writer), EMPTY, None, b"", {}, {})
        commit = write_run(writer, run, author(1)).commit
    store.refs.update(new_run(store, KEY, TaskHash(whole), commit))
    assert show(store, last_run(store, KEY)).inputs == {
        "needs/lib:make": "1" * 40,
        "patches/fix": f"blob {patch}\n",
        "sources/a.c": f"blob {blob}\n",
        "sources/folder": f"tree {folder.hex()}\n",
        "variables/CC": "gcc",
    }
