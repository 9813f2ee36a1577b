"""Write a bill of materials as an SPDX 3.0.1 document in JSON-LD.

Each task is a Build of the build profile. Its inputs are the folders that it started with, its
sources, and the files that it read; its outputs are a folder and the files that it made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prov import __version__
from prov.sbom.bill import (
    Bill,
    BilledFile,
    BilledFolder,
    BilledPackage,
    BilledSource,
    BilledTask,
)
from prov.sbom.contents import ContentFacts
from prov.sbom.encoding import Table, encode_lines, package_url, quoted, time_text, without_empty
from prov.sbom.licenses import expression

CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
BUILD_TYPE = "urn:prov:task:v1"
_CREATION = "_:creation"
_PROFILES = ["core", "software", "simpleLicensing", "build"]
_DEPFILES = "sources and headers that depfiles of compilers state"
_PURPOSES = {"source": "source", "patch": "patch"}


def encode(bill: Bill) -> bytes:
    """Return the document."""
    return encode_lines({"@context": CONTEXT}, "@graph", _Writer(bill).elements())


@dataclass(slots=True)
class _Writer:
    bill: Bill
    _licenses: set[str] = field(default_factory=set)
    """The refs of written licenses."""

    def elements(self) -> Iterator[Table]:
        yield {
            "type": "CreationInfo",
            "@id": _CREATION,
            "specVersion": "3.0.1",
            "created": time_text(self.bill.created),
            "createdBy": [self.id("agent")],
            "createdUsing": [self.id("tool")],
        }
        content = list(self.content())
        yield self.element("SoftwareAgent", "agent", name="prov")
        yield self.element("Tool", "tool", name=f"prov {__version__}")
        yield self.element(
            "SpdxDocument",
            "document",
            name=f"SBOM of {self.bill.name}",
            rootElement=[self.id("sbom")],
            profileConformance=_PROFILES,
        )
        yield self.element(
            "software_Sbom",
            "sbom",
            name=self.bill.name,
            rootElement=[self.id("target")],
            element=[element["spdxId"] for element in content],
            profileConformance=_PROFILES,
            software_sbomType=["build"],
        )
        yield from content

    def content(self) -> Iterator[Table]:
        bill = self.bill
        purpose = "other"
        if bill.is_image:
            purpose = "filesystemImage"
        yield self.element(
            "software_Package",
            "target",
            name=bill.name,
            comment=f"Targets of build {bill.build}: {', '.join(bill.targets)}",
            software_packageVersion=bill.version,
            software_primaryPurpose=purpose,
        )
        packages = [package.ref for package in bill.packages if package.is_delivered]
        images = [file.ref for file in bill.files if file.purpose == "image"]
        yield from self.relation("target", "contains", [*packages, *images])
        for package in bill.packages:
            yield from self.package(package)
        for file in bill.files:
            yield from self.file(file)
        yield from self.copies()
        for folder in bill.folders:
            yield self.folder(folder)
        for tools in sorted({task.toolchain for task in bill.tasks} - {""}):
            yield self.element("Tool", f"tools:{tools}", name=f"host tools {tools}")
        for task in bill.tasks:
            yield from self.task(task)

    # elements

    def id(self, ref: str) -> str:
        return f"{self.bill.ref}#{ref}"

    def element(self, kind: str, ref: str, **values: object) -> Table:
        head = {"type": kind, "spdxId": self.id(ref), "creationInfo": _CREATION}
        return head | without_empty(values)

    def relation(
        self,
        source: str,
        kind: str,
        targets: Iterable[str],
        *,
        scope: str = "",
        completeness: str = "",
        name: str = "",
        comment: str = "",
    ) -> Iterator[Table]:
        """Yield a relationship, nothing if it has no targets."""
        ids = [self.id(target) for target in targets]
        if ids:
            yield self.element(
                "LifecycleScopedRelationship" if scope else "Relationship",
                f"{name or kind}:{source}",
                **{"from": self.id(source)},
                relationshipType=kind,
                to=ids,
                completeness=completeness,
                scope=scope,
                comment=comment,
            )

    def package(self, package: BilledPackage) -> Iterator[Table]:
        about = package.about
        urls = [source.url for source in package.sources if source.url]
        supplier = ""
        if about.get("supplier"):
            organization = f"supplier:{package.ref}"
            supplier = self.id(organization)
            yield self.element("Organization", organization, name=about["supplier"])
        yield self.element(
            "software_Package",
            package.ref,
            name=package.name,
            summary=about.get("summary", ""),
            suppliedBy=supplier,
            software_packageVersion=package.version,
            software_packageUrl=package_url(package),
            software_downloadLocation="".join(urls[:1]),
            externalIdentifier=[
                {
                    "type": "ExternalIdentifier",
                    "externalIdentifierType": "cpe23",
                    "identifier": cpe,
                }
                for cpe in package.cpes
            ],
        )
        yield from self.relation(package.ref, "contains", package.files)
        yield from self.relation(package.ref, "dependsOn", package.uses, scope="build")
        yield from self.relation(package.ref, "patchedBy", package.patches)
        yield from self.licenses(package.ref, filter(None, [about.get("license")]))
        for source in package.sources:
            yield self.source(source)
        sources = [source.ref for source in package.sources]
        yield from self.relation(package.ref, "descendantOf", sources)

    def source(self, source: BilledSource) -> Table:
        if source.facts is not None:
            return self.element(
                "software_File",
                source.ref,
                name=source.name,
                software_primaryPurpose="source",
                verifiedUsing=_hashes(source.facts),
            )
        swhids = [source.swhid] if source.swhid else []
        return self.element(
            "software_Package",
            source.ref,
            name=source.name,
            software_downloadLocation=source.url,
            software_primaryPurpose="source",
            software_contentIdentifier=[_identifier("swhid", swhid) for swhid in swhids],
            verifiedUsing=[_hash("sha256", source.sha256)] if source.sha256 else [],
        )

    def file(self, file: BilledFile) -> Iterator[Table]:
        purpose = _PURPOSES.get(file.purpose, "file")
        if file.is_executable:
            purpose = "executable"
        yield self.element(
            "software_File",
            file.ref,
            name=file.path,
            comment=file.description,
            software_primaryPurpose=purpose,
            verifiedUsing=_hashes(file.facts),
            software_contentIdentifier=[_identifier("gitoid", gitoid) for gitoid in file.gitoids],
        )
        yield from self.relation(
            file.ref, "dependsOn", file.sources, scope="build", comment=_DEPFILES
        )
        yield from self.licenses(file.ref, file.facts.tags)

    def licenses(self, ref: str, texts: Iterable[str]) -> Iterator[Table]:
        """Yield the declared licenses of an element, and each license when it is first used."""
        for name in dict.fromkeys(map(_license_name, texts)):
            used = f"license:{quoted(name)}"
            if used not in self._licenses:
                self._licenses.add(used)
                yield self.element(
                    "simplelicensing_LicenseExpression",
                    used,
                    simplelicensing_licenseExpression=name,
                )
            kind = "hasDeclaredLicense"
            yield from self.relation(ref, kind, [used], name=f"{kind}:{quoted(name)}")

    def copies(self) -> Iterator[Table]:
        by_origin: dict[str, list[str]] = {}
        for file in self.bill.files:
            if file.origin:
                by_origin.setdefault(file.origin, []).append(file.ref)
        for origin, refs in by_origin.items():
            yield from self.relation(origin, "copiedTo", refs)

    def folder(self, folder: BilledFolder) -> Table:
        return self.element(
            "software_File",
            folder.ref,
            name=folder.name,
            software_fileKind="directory",
            software_contentIdentifier=[_identifier("swhid", f"swh:1:dir:{folder.tree}")],
        )

    def task(self, task: BilledTask) -> Iterator[Table]:
        yield self.element(
            "build_Build",
            task.ref,
            name=task.key,
            comment=task.gaps,
            build_buildType=BUILD_TYPE,
            build_buildId=task.tag or task.task_hash,
            build_buildStartTime=time_text(task.began),
            build_buildEndTime=time_text(task.ended),
        )
        yield from self.relation(
            task.ref,
            "hasInput",
            [*task.folders, *task.sources],
            scope="build",
            completeness=_completeness(task.unknown),
            comment="declared inputs",
        )
        yield from self.relation(
            task.ref,
            "hasInput",
            task.read,
            scope="build",
            completeness=_completeness(task.problem),
            name="hasRead",
            comment=f"files read: {task.problem or 'complete'}",
        )
        outputs = [*task.outputs, *task.made]
        yield from self.relation(task.ref, "hasOutput", outputs, scope="build")
        if task.toolchain:
            tools = f"tools:{task.toolchain}"
            yield from self.relation(task.ref, "usesTool", [tools], scope="build")


def _license_name(text: str) -> str:
    """Return a license as an expression, under a name of its own if it is not one."""
    escaped = re.sub(r"[^A-Za-z0-9.-]", "-", quoted(text))
    return expression(text) or f"LicenseRef-{escaped}"


def _completeness(gaps: object) -> str:
    return "incomplete" if gaps else "complete"


def _hashes(facts: ContentFacts) -> list[Table]:
    return [_hash("sha256", facts.sha256.hex()), _hash("sha1", facts.sha1.hex())]


def _hash(algorithm: str, digest: str) -> Table:
    return {"type": "Hash", "algorithm": algorithm, "hashValue": digest}


def _identifier(kind: str, value: str) -> Table:
    return {
        "type": "software_ContentIdentifier",
        "software_contentIdentifierType": kind,
        "software_contentIdentifierValue": value,
    }
