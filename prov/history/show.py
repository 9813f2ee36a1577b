"""Read everything recorded about one run: inputs, output, environment, times and log."""

from __future__ import annotations

from dataclasses import dataclass

from prov.history.names import RunName
from prov.records.entries import ENVIRONMENT
from prov.records.ids import TaskHash
from prov.records.output import read_pair
from prov.records.record import read_run_record
from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY
from prov.store.repository import Store


@dataclass(frozen=True, slots=True)
class Shown:
    """A recorded run as text."""

    run: RunName
    inputs: dict[str, str]
    """Path in the inputs tree -> text. Sources and patches are listed by id."""
    output: str
    output_paths: list[str]
    environment: str
    facts: dict[str, str]
    log: str


def show(store: Store, run: RunName) -> Shown:
    """Return everything recorded about a run."""
    objects = store.objects
    record = read_run_record(objects, run.commit)
    content = read_pair(objects, record.result).tree if record.result else EMPTY_TREE
    entries = objects.tree(content)
    return Shown(
        run=run,
        inputs=_inputs(store, run.task_hash),
        output=record.result.hex() if record.result else "",
        output_paths=[_text(entry.name) for entry in entries],
        environment=_text(record.text(objects, ENVIRONMENT)),
        facts=record.facts(objects),
        log=_text(record.log(objects)),
    )


def _inputs(store: Store, tree: TaskHash) -> dict[str, str]:
    texts: dict[str, str] = {}
    for entry in store.objects.tree(tree):
        name = _text(entry.name)
        if entry.mode != MODE_DIRECTORY:
            texts[name] = _text(store.objects.blob(entry.oid))
            continue
        for inner in store.objects.tree(entry.oid):
            path = f"{name}/{_text(inner.name)}"
            if name in ("sources", "patches"):
                kind = "tree" if inner.mode == MODE_DIRECTORY else "blob"
                texts[path] = f"{kind} {inner.oid.hex()}\n"
            else:
                texts[path] = _text(store.objects.blob(inner.oid))
    return texts


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
