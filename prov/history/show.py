"""One run, whole: its inputs, output, environment, times and log."""

from __future__ import annotations

from dataclasses import dataclass

from prov.history.names import RunName
from prov.records.entries import ENVIRONMENT
from prov.records.output import read_pair
from prov.records.record import read_run_record
from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY, Oid
from prov.store.repository import Store


@dataclass(frozen=True, slots=True)
class Shown:
    """A recorded run as texts."""

    run: RunName
    inputs: dict[str, str]
    """Path in the inputs tree -> its text; contents of sources are left out."""
    output: str
    output_paths: list[str]
    environment: str
    facts: dict[str, str]
    log: str


def show(store: Store, run: RunName) -> Shown:
    """Return what is recorded of a run."""
    objects = store.objects
    record = read_run_record(objects, run.commit)
    content = read_pair(objects, record.output).tree if record.output else EMPTY_TREE
    names = objects.tree(content)
    return Shown(
        run=run,
        inputs=_inputs(store, bytes.fromhex(run.task_hash)),
        output=record.output.hex() if record.output else "",
        output_paths=[entry.name.decode("utf-8", "replace") for entry in names],
        environment=record.text(objects, ENVIRONMENT).decode("utf-8", "replace"),
        facts=record.facts(objects),
        log=record.log(objects).decode("utf-8", "replace"),
    )


def _inputs(store: Store, tree: Oid) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in store.objects.tree(tree):
        name = entry.name.decode("utf-8", "replace")
        if entry.mode != MODE_DIRECTORY:
            found[name] = store.objects.blob(entry.oid).decode("utf-8", "replace")
            continue
        for inner in store.objects.tree(entry.oid):
            path = f"{name}/{inner.name.decode('utf-8', 'replace')}"
            if name in ("sources", "patches"):
                found[path] = (
                    f"{'tree' if inner.mode == MODE_DIRECTORY else 'blob'} {inner.oid.hex()}\n"
                )
            else:
                found[path] = store.objects.blob(inner.oid).decode("utf-8", "replace")
    return found
