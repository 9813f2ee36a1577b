"""Read the evidence for an attestation from a run's record: its files, digests and inputs.

All inputs are listed by their paths in the inputs tree: variables by value, because they were
hashed unexpanded; the caller's variables by name only; and everything else by digest. The record's
environment is never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit, urlunsplit

from prov.errors import FORGET_RUN, NameUnknown, ProvError, StoreError
from prov.history.builds import find_build, short_id, split_steps
from prov.history.names import RunName, find_run, run_in
from prov.records.build_list import BuildList, walk_builds
from prov.records.entries import EDGES
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.keyvalue import decode_lines
from prov.records.output import read_pair
from prov.records.record import Record, read_run_record
from prov.statements.attestation import Artifact, Evidence, is_uri
from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY, Entry, Oid
from prov.store.repository import Store
from prov.tasks.definition import Definition, read_definition
from prov.text import nearest
from prov.worktree.attributes import walk
from prov.wrapped.recorded import is_command

_PINNED = re.compile(r"(?:sha256 (?P<sha256>[0-9a-f]{64})|git (?P<gitCommit>[0-9a-f]{40}))\n")
_OID = re.compile(r"[0-9a-f]{40}\n")
_PUBLIC_SCHEMES = ("https", "http", "git", "ssh", "ftp")
_IDS = {
    **dict.fromkeys(EDGES, "gitTree"),
    "host-toolchain": "gitTree",
    "start": "gitTree",
    "incremental": "gitCommit",
}
"""Inputs that contain an id as text -> the kind of the id."""


# the run


def attested_run(store: Store, name: str, build: str = "") -> tuple[RunName, str]:
    """Return the run with a name, and a note about it or an empty text.

    `name` may be a recipe alone. Raises NameUnknown.
    """
    if ":" not in name and "/" not in name:
        name = _target(find_build(store, build or "latest"), name, further=not build)
    before, _, key = name.rpartition("/")
    if ":" not in key or split_steps(key)[1] or not (build or before):
        return find_run(store, name), ""
    named = find_build(store, build or before)
    note = ""
    if named.happened().get(TaskKey(key), "").startswith("stale"):
        note = (
            f"{key} is stale in build {short_id(named.commit)}; the attestation lists the inputs it"
            " was built from"
        )
    return run_in(named, TaskKey(key)), note


def _target(build: BuildList, recipe: str, *, further: bool) -> str:
    """Return the task of a recipe that was a target of a build, or the recipe's only one.

    With `further`, use the last build up to this one that has the recipe.
    """
    if further:
        having = (one for one in walk_builds(build) if recipe in one.recipes())
        build = next(having, build)
    lines = build.lines(recipe)
    if not lines:
        hint = nearest(recipe, build.recipes()) or "run `prov builds` to list builds"
        raise NameUnknown(f"build {short_id(build.commit)} has no recipe {recipe}", hint=hint)
    targets = build.facts().get("targets", "").split()
    asked = [key for key in lines if key in targets]
    if len(asked) == 1:
        return asked[0]
    candidates = [key for key in asked or lines if lines[key].output != EMPTY_TREE]
    if len(candidates) == 1:
        return candidates[0]
    names = ", ".join(sorted(candidates or lines))
    raise NameUnknown(f"{recipe} is not a task", hint=f"use one of {names}")


# its record


def read_evidence(store: Store, run: RunName) -> Evidence:
    """Return the evidence in a run's record.

    Raises ProvError for a failed run and for a task of BitBake, StoreError for an inconsistent
    record.
    """
    objects = store.objects
    record = read_run_record(objects, run.commit)
    entries = {entry.name.decode("utf-8", "replace"): entry for entry in objects.tree(record.tree)}
    facts = record.facts(objects)
    _check(run, record, facts, store)
    definition = None
    if record.is_recipes:
        definition = read_definition(record.definition(objects), run.key)
    reader = _RecordReader(store, run, definition)
    return Evidence(
        run=run,
        facts=facts,
        definition=definition,
        variables=reader.variables(),
        environment=reader.environment(),
        subjects=tuple(reader.subjects(record.result or OutputId(EMPTY_TREE))),
        dependencies=tuple(reader.dependencies()),
        byproducts=(reader.blob("log", entries["log"].oid),) if "log" in entries else (),
        command=reader.command(),
    )


def _check(run: RunName, record: Record, facts: Mapping[str, str], store: Store) -> None:
    if run.failed or record.result is None or facts.get("result") != "ok":
        raise ProvError(
            f"cannot attest {run.key}: the run failed",
            hint=f"run `prov log {run.key}` to list runs; use --build or a tag for an earlier one",
        )
    if record.result == EMPTY_TREE:
        raise ProvError(
            f"cannot attest {run.key}: its output is empty",
            hint="attest a task with an `outputdir`, such as the install task",
        )
    if not record.is_recipes and not is_command(store, run.commit):
        raise ProvError(
            f"cannot attest {run.key}: its inputs are not recorded",
            hint="attest a run of `prov build`",
        )
    if record.task_hash != run.task_hash or facts.get("task") != run.key:
        raise StoreError(f"the record of {run.tag} belongs to a different task", hint=FORGET_RUN)


@dataclass(slots=True)
class _RecordReader:
    store: Store
    run: RunName
    definition: Definition | None
    _sha256: dict[Oid, str] = field(default_factory=dict)

    def inputs(self) -> Iterator[tuple[str, Entry]]:
        """Yield path and entry of all inputs."""
        objects = self.store.objects
        for entry in objects.tree(self.run.task_hash):
            name = os.fsdecode(entry.name)
            if entry.mode == MODE_DIRECTORY:
                yield from (
                    (f"{name}/{os.fsdecode(below.name)}", below)
                    for below in objects.tree(entry.oid)
                )
            else:
                yield name, entry

    def variables(self) -> dict[str, str]:
        paths = ((name.partition("/"), entry) for name, entry in self.inputs())
        return {name: self.text(entry) for (kind, _, name), entry in paths if kind == "variables"}

    def environment(self) -> tuple[str, ...]:
        """Return the names of the caller's variables that are inputs."""
        entries = [entry for name, entry in self.inputs() if name == "environment"]
        texts = [self.store.objects.blob(entry.oid) for entry in entries]
        return tuple(sorted(name for text in texts for name in decode_lines(text, "=")))

    def command(self) -> str:
        """Return the command of a run without a recipe, or an empty text."""
        texts = (self.text(entry) for name, entry in self.inputs() if name == "command")
        return next(texts, "").strip()

    def subjects(self, output: OutputId) -> Iterator[Artifact]:
        """Yield the output as a tree, which other tasks use, and each regular file in it."""
        yield Artifact(self.run.key, {"gitTree": output.hex()})
        for path, node in walk(self.store.objects, read_pair(self.store.objects, output)):
            if stat.S_ISREG(node.mode):
                marks = {"fixme": node.fixme.decode("ascii", "replace")} if node.fixme else {}
                yield Artifact(
                    os.fsdecode(path), {"sha256": self.sha256(node.oid)}, annotations=marks
                )

    def dependencies(self) -> Iterator[Artifact]:
        """Yield all inputs listed by digest, and the WORKDIR that the task continued in."""
        taken_over = False
        for name, entry in self.inputs():
            kind = name.partition("/")[0]
            if kind not in ("variables", "environment", "command"):
                yield self.dependency(name, entry)
            taken_over = taken_over or kind in ("after", "incremental")
        if taken_over:
            yield Artifact(
                "workdir",
                {"gitCommit": self.store.objects.commit(self.run.commit).parents[0].hex()},
            )

    def dependency(self, name: str, entry: Entry) -> Artifact:
        kind, _, below = name.partition("/")
        if kind in _IDS:
            return Artifact(name, {_IDS[kind]: self.oid(name, entry)})
        if entry.mode == MODE_DIRECTORY:
            return Artifact(name, {"gitTree": entry.oid.hex()})
        sources = self.definition.sources if self.definition else ()
        local = any(file.name == below and file.node.oid == entry.oid for file in sources)
        if kind == "sources" and not below.startswith("%") and not local:
            return self.pinned(name, entry, self.address(below))
        return self.blob(name, entry.oid)

    def address(self, source: str) -> str:
        """Return the public address of a source, an empty text if unknown. It is not hashed."""
        excluded = self.definition.excluded if self.definition else {}
        rows = json.loads(excluded.get("SOURCES", "[]"))
        return next(
            (
                public_address(str(row.get("git") or row.get("url")))
                for row in rows
                if row.get("name") == source
            ),
            "",
        )

    def blob(self, name: str, oid: Oid) -> Artifact:
        return Artifact(name, {"gitBlob": oid.hex(), "sha256": self.sha256(oid)})

    def sha256(self, oid: Oid) -> str:
        if oid not in self._sha256:
            self._sha256[oid] = _sha256(self.store.objects.stream_blob(oid))
        return self._sha256[oid]

    def text(self, entry: Entry) -> str:
        return self.store.objects.blob(entry.oid).decode("utf-8", "surrogateescape")

    def oid(self, name: str, entry: Entry) -> str:
        text = self.text(entry)
        if not _OID.fullmatch(text):
            raise StoreError(
                f"the record of {self.run.tag} is invalid: {name} is not an id", hint=FORGET_RUN
            )
        return text.strip()

    def pinned(self, name: str, entry: Entry, address: str) -> Artifact:
        match = _PINNED.fullmatch(self.text(entry))
        if match is None:
            raise StoreError(
                f"the record of {self.run.tag} is invalid: {name} is not a checksum",
                hint=FORGET_RUN,
            )
        if match["gitCommit"]:
            uri = f"git+{address}@{match['gitCommit']}" if address else ""
            return Artifact(name, {"gitCommit": match["gitCommit"]}, uri)
        return Artifact(name, {"sha256": match["sha256"]}, address)


def _sha256(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def public_address(url: str) -> str:
    """Return a URL without possible secrets: user, password and query.

    Returns an empty text for an invalid URL or one without a host.
    """
    try:
        parts = urlsplit(url)
        path = quote(parts.path, safe="/%:@!$&'()*+,;=~")
    except ValueError:
        return ""
    # without a host, the path may begin with a second user
    host = parts.netloc.rpartition("@")[2].lower()
    address = urlunsplit((parts.scheme, host, path, "", ""))
    return address if host and parts.scheme in _PUBLIC_SCHEMES and is_uri(address) else ""
