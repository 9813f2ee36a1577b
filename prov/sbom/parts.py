"""Describe the sources, packages, folders and tasks of a bill."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prov.records.build_list import BuildList
from prov.records.record import read_edge_id
from prov.sbom.bill import BilledFile, BilledFolder, BilledPackage, BilledSource, BilledTask
from prov.sbom.contents import ContentFacts
from prov.sbom.encoding import is_time
from prov.sbom.files_read import FilesRead
from prov.sbom.origins import Origin
from prov.sbom.refs import input_ref, output_ref, package_ref, task_ref, text_of, workdir_ref
from prov.sbom.task_graph import GraphRun, TaskGraph, TaskId
from prov.statements.record_reader import public_address
from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY, Entry, Oid

Named = tuple[str, Entry]
_PINNED = re.compile(r"(?P<kind>sha256|git) (?P<id>[0-9a-f]{40,64})\n")


def own_inputs(run: GraphRun, kind: str) -> list[Named]:
    """Return a task's own inputs of one kind, without the notes whose names begin with %."""
    if run.inputs is None:
        return []
    return sorted(
        (name, entry)
        for (other, name), entry in run.inputs.own.items()
        if other == kind and not name.startswith("%")
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """Describes the parts of a bill."""

    graph: TaskGraph
    facts: Mapping[Oid, ContentFacts]
    refs: Mapping[Origin, str]
    """File -> its ref in the bill."""
    read: Mapping[TaskId, FilesRead]

    # sources and patches

    def patches(self, run: GraphRun) -> Iterator[BilledFile]:
        for name, entry in own_inputs(run, "patch"):
            yield BilledFile(
                ref=input_ref("patch", run.id, name),
                path=text_of(os.fsencode(name)),
                recipe=run.key.recipe,
                purpose="patch",
                oid=entry.oid,
                facts=self.facts[entry.oid],
            )

    def sources(self, run: GraphRun) -> Iterator[BilledSource]:
        named = own_inputs(run, "source")
        definition = self.graph.definition(run) if named else None
        if definition is None:
            yield from (self.source(run, name, entry, {}) for name, entry in named)
            return
        rows = json.loads(definition.excluded.get("SOURCES", "[]"))
        by_name = {row.get("name"): row for row in rows}
        for name, entry in named:
            yield self.source(run, name, entry, by_name.get(name, {}))

    def source(
        self, run: GraphRun, name: str, entry: Entry, row: Mapping[str, Any]
    ) -> BilledSource:
        """Return a source: a folder, the checksum that pins it, or a file beside the recipe."""
        ref, text = input_ref("source", run.id, name), text_of(os.fsencode(name))
        if entry.mode == MODE_DIRECTORY:
            return BilledSource(ref, text, tree=entry.oid.hex())
        data = self.graph.store.objects.blob(entry.oid)[:100].decode("utf-8", "replace")
        pinned = _PINNED.fullmatch(data)
        if pinned is None:
            return BilledSource(ref, text, facts=self.facts[entry.oid], oid=entry.oid)
        url = public_address(str(row.get("git") or row.get("url") or ""))
        if pinned["kind"] == "git":
            return BilledSource(ref, text, url, git_commit=pinned["id"])
        return BilledSource(ref, text, url, sha256=pinned["id"])

    # packages

    def packages(
        self, build: BuildList, runs: Iterable[GraphRun], files: Iterable[BilledFile]
    ) -> Iterator[BilledPackage]:
        """Yield the recipes of these tasks, with these files."""
        by_recipe: dict[str, list[BilledFile]] = {}
        sources: dict[str, list[BilledSource]] = {}
        for run in runs:
            by_recipe.setdefault(run.key.recipe, [])
            sources.setdefault(run.key.recipe, []).extend(self.sources(run))
        for file in files:
            by_recipe.setdefault(file.recipe, []).append(file)
        versions, uses = build.versions(), self._uses()
        for recipe, own in sorted(by_recipe.items()):
            delivered = tuple(file.ref for file in own if file.purpose == "image")
            used = uses.get(recipe, set()) - {recipe}
            yield BilledPackage(
                ref=package_ref(recipe),
                name=recipe,
                version=versions.get(recipe, ""),
                about=build.about(recipe),
                sources=tuple(sources.get(recipe, ())),
                patches=tuple(file.ref for file in own if file.purpose == "patch"),
                files=delivered,
                licenses=_tags(own),
                uses=tuple(map(package_ref, sorted(used))),
                is_delivered=bool(delivered),
            )

    def _uses(self) -> dict[str, set[str]]:
        """Return recipe -> the recipes whose files its tasks read."""
        uses: dict[str, set[str]] = {}
        for task, listed in self.read.items():
            recipes = {origin.task.key.recipe for origin in listed.origins}
            uses.setdefault(task.key.recipe, set()).update(recipes)
        return uses

    # folders and tasks

    def folders(self, runs: Iterable[GraphRun]) -> Iterator[BilledFolder]:
        """Yield the outputs of tasks, and the WORKDIRs in which other tasks continued."""
        runs = list(runs)
        continued = {edge.task for run in runs for edge in run.edges if edge.kind == "after"}
        for run in runs:
            output = self.graph.output(run).tree
            if output != EMPTY_TREE:
                yield BilledFolder(output_ref(run.id), f"{run.key}@output", output.hex())
            if run.id in continued and run.commit is not None:
                workdir = self.graph.workdir(run).tree
                yield BilledFolder(workdir_ref(run.id), f"{run.key}@workdir", workdir.hex())

    def task(self, run: GraphRun, made: Iterable[Origin]) -> BilledTask:
        """Return a task, with the files that it made."""
        began, ended = _times(run.facts)
        read = self.read.get(run.id, FilesRead(()))
        own = [(kind, name) for kind in ("source", "patch") for name, _ in own_inputs(run, kind)]
        return BilledTask(
            ref=task_ref(run.id),
            key=run.key,
            task_hash=run.id.task_hash.hex(),
            tag=run.tag,
            began=began,
            ended=ended,
            folders=tuple(sorted(set(self._used_folders(run)))),
            sources=tuple(input_ref(kind, run.id, name) for kind, name in own),
            read=tuple(sorted(self.refs[origin] for origin in read.origins)),
            problem=read.problem,
            unknown=run.unknown,
            has_read=run.id in self.read,
            made=tuple(sorted(self.refs[origin] for origin in made)),
            outputs=tuple(self._outputs(run)),
            after=tuple(sorted({task_ref(edge.task) for edge in run.edges})),
            toolchain=self._toolchain(run),
        )

    def _used_folders(self, run: GraphRun) -> Iterator[str]:
        for edge in run.edges:
            used = self.graph.run(edge.task)
            if edge.kind != "after":
                yield from self._outputs(used)
            elif used.commit is not None:
                yield workdir_ref(edge.task)

    def _outputs(self, run: GraphRun) -> Iterator[str]:
        """Yield the ref of a run's output, nothing if it is empty."""
        if self.graph.output(run).tree != EMPTY_TREE:
            yield output_ref(run.id)

    def _toolchain(self, run: GraphRun) -> str:
        for _, entry in own_inputs(run, "host tools"):
            return read_edge_id(self.graph.store.objects, entry.oid).hex()
        return ""


def _tags(files: Iterable[BilledFile]) -> tuple[str, ...]:
    """Return the license tags in the source files among these files."""
    sources = [file for file in files if file.purpose in ("source", "start")]
    return tuple(sorted({tag for file in sources for tag in file.facts.tags}))


def _times(facts: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Return start and end of a run, in seconds since the epoch; None if they are not recorded."""
    try:
        began = float(facts["began"])
        ended = began + float(facts["seconds"])
    except (KeyError, ValueError):
        return None, None
    return (began, ended) if is_time(began) and is_time(ended) else (None, None)
