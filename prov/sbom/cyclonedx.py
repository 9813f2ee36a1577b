"""Write a bill of materials as a CycloneDX 1.6 document in JSON.

Recipes are components, with the files of the target inside. Sources and the files made on the way
are components, too, so that the tasks in `formulation` can name them as inputs and outputs.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from prov import __version__
from prov.sbom.bill import Bill, BilledFile, BilledPackage, BilledSource, BilledTask
from prov.sbom.encoding import Table, encode_lines, package_url, time_text, without_empty
from prov.sbom.licenses import expression

_NAMESPACE = uuid.UUID("5cbbf1c8-0a50-5dbd-9c41-29f1c6b4e0a3")
"""A random constant: the serial number is derived from it and the bill's ref."""
_KIND = "prov:kind"
_TYPES = {True: "firmware", False: "application"}
_SCOPES = {True: "required", False: "excluded"}


def encode(bill: Bill) -> bytes:
    """Return the document."""
    writer = _Writer(bill, bill.by_ref)
    head = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(_NAMESPACE, bill.ref).urn,
        "version": 1,
        "metadata": writer.metadata(),
        "dependencies": list(writer.dependencies()),
        "formulation": [{"workflows": [writer.workflow()]}],
    }
    return encode_lines(head, "components", writer.components())


@dataclass(frozen=True, slots=True)
class _Writer:
    bill: Bill
    files: dict[str, BilledFile]

    def metadata(self) -> Table:
        tool = {"type": "application", "name": "prov", "version": __version__}
        target = without_empty(
            {
                "type": _TYPES[self.bill.is_image],
                "bom-ref": "target",
                "name": self.bill.name,
                "version": self.bill.version,
                "description": f"targets: {', '.join(self.bill.targets)}",
                "properties": [_property("prov:build", self.bill.build)],
            }
        )
        return {
            "timestamp": time_text(self.bill.created),
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [tool]},
            "component": target,
        }

    def components(self) -> Iterator[Table]:
        for package in self.bill.packages:
            yield self.package(package)
        for file in self.bill.files:
            if file.purpose != "image":
                yield _file(file)
        for folder in self.bill.folders:
            yield {
                "type": "data",
                "bom-ref": folder.ref,
                "name": folder.name,
                "swhid": [f"swh:1:dir:{folder.tree}"],
                "properties": [_property(_KIND, "folder")],
            }

    def package(self, package: BilledPackage) -> Table:
        about = package.about
        files = [self.files[ref] for ref in package.files]
        parts = [*map(_source, package.sources), *map(_file, files)]
        table: dict[str, Any] = {
            "type": "library",
            "bom-ref": package.ref,
            "name": package.name,
            "version": package.version,
            "description": about.get("summary", ""),
            "scope": _SCOPES[package.is_delivered],
            "licenses": _licenses(filter(None, [about.get("license")])),
            "cpe": "".join(package.cpes[:1]),
            "purl": package_url(package),
            "pedigree": self.pedigree(package),
            "externalReferences": list(_addresses(package.sources)),
            "components": parts,
            "evidence": _evidence(package.licenses),
            "properties": [_property("prov:cpe", cpe) for cpe in package.cpes[1:]],
        }
        if about.get("supplier"):
            table["supplier"] = {"name": about["supplier"]}
        return without_empty(table)

    def pedigree(self, package: BilledPackage) -> Table | None:
        """Return the names of a package's patches; their components have the digests."""
        if not package.patches:
            return None
        names = [self.files[ref].path for ref in package.patches]
        rows = [{"type": "unofficial", "diff": {"text": {"content": name}}} for name in names]
        return {"patches": rows}

    def dependencies(self) -> Iterator[Table]:
        """Yield what the target, recipes and files depend on."""
        delivered = [package.ref for package in self.bill.packages if package.is_delivered]
        yield {"ref": "target", "dependsOn": delivered}
        for package in self.bill.packages:
            yield {"ref": package.ref, "dependsOn": list(package.uses)}
        for file in self.bill.files:
            used = list(filter(None, [*file.sources, file.origin]))
            if used:
                yield {"ref": file.ref, "dependsOn": used}

    def workflow(self) -> Table:
        return {
            "bom-ref": "build",
            "uid": self.bill.build,
            "name": f"prov build of {', '.join(self.bill.targets)}",
            "taskTypes": ["build"],
            "tasks": [_task(task) for task in self.bill.tasks],
            "taskDependencies": [
                {"ref": task.ref, "dependsOn": list(task.after)} for task in self.bill.tasks
            ],
        }


def _file(file: BilledFile) -> Table:
    table: dict[str, Any] = {
        "type": "file",
        "bom-ref": file.ref,
        "name": file.path,
        "description": file.description,
        "hashes": [
            {"alg": "SHA-1", "content": file.facts.sha1.hex()},
            {"alg": "SHA-256", "content": file.facts.sha256.hex()},
        ],
        "omniborId": list(file.gitoids),
        "evidence": _evidence(file.facts.tags),
        "properties": [_property(_KIND, file.purpose), _property("prov:recipe", file.recipe)],
    }
    return without_empty(table)


def _task(task: BilledTask) -> Table:
    refs = [*task.folders, *task.sources, *task.read]
    made = [*task.outputs, *task.made]
    notes = {"prov:host-tools": task.toolchain, "prov:incomplete": task.gaps}
    if task.has_read:
        notes["prov:reads"] = task.problem or "complete"
    table: dict[str, Any] = {
        "bom-ref": task.ref,
        "uid": task.tag or task.task_hash,
        "name": task.key,
        "taskTypes": ["build"],
        "inputs": [{"resource": {"ref": ref}} for ref in refs],
        "outputs": [{"type": "artifact", "resource": {"ref": ref}} for ref in made],
        "timeStart": time_text(task.began),
        "timeEnd": time_text(task.ended),
        "properties": [_property(name, text) for name, text in notes.items() if text],
    }
    return without_empty(table)


def _source(source: BilledSource) -> Table:
    sha256 = source.sha256
    if source.facts is not None:
        sha256 = source.facts.sha256.hex()
    swhids = [source.swhid] if source.swhid else []
    table: dict[str, Any] = {
        "type": "file" if sha256 else "data",
        "bom-ref": source.ref,
        "name": source.name,
        "hashes": _sha256(sha256),
        "swhid": swhids,
        "externalReferences": list(_addresses([source])),
        "properties": [_property(_KIND, "source")],
    }
    return without_empty(table)


def _sha256(digest: str) -> list[Table]:
    return [{"alg": "SHA-256", "content": digest}] if digest else []


def _addresses(sources: Iterable[BilledSource]) -> Iterator[Table]:
    for source in sources:
        if not source.url:
            continue
        is_git = bool(source.git_commit)
        yield without_empty(
            {
                "type": "vcs" if is_git else "source-distribution",
                "url": source.url,
                "comment": source.git_commit,
                "hashes": _sha256(source.sha256),
            }
        )


def _licenses(texts: Iterable[str]) -> list[Table]:
    """Return licenses: one expression, or a list of names, as the format requires."""
    expressions = [(text, expression(text)) for text in texts]
    if len(expressions) == 1 and expressions[0][1]:
        return [{"expression": expressions[0][1]}]
    return [{"license": {"name": found or text}} for text, found in expressions]


def _evidence(tags: tuple[str, ...]) -> Table | None:
    return {"licenses": _licenses(tags)} if tags else None


def _property(name: str, value: str) -> Table:
    return {"name": name, "value": value}
