"""Write OmniBOR input manifests: for each made file, the ids of the files that it was made from.

    manifests/gitoid_blob_sha256/AB/CDEF…   a manifest; its name is its own id
    targets                                 a line for each made file: its id, and its manifest's

The manifest of a file names the manifests of its inputs, so the ids form a graph. The inputs are
the files that depfiles state, or else all files that the task read. Source of the format: the
OmniBOR specification, sections 6.3 and 7. It defines SHA-256 ids; the SHA-1 ids, which are those of
git's usual format, are written in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from prov.intake.digest import object_digest
from prov.sbom.bill import Bill, BilledFile
from prov.store.objects import object_id

_TYPES = ("sha1", "sha256")


def encode(bill: Bill) -> dict[str, bytes]:
    """Return the input manifests of a bill's files, and the index: path -> content."""
    files: dict[str, bytes] = {}
    targets: list[str] = []
    for kind in _TYPES:
        writer = _Writer(bill, kind)
        for file, manifest in writer.made():
            targets.append(f"{writer.prefix}:{writer.id(file)} {writer.prefix}:{manifest}\n")
        files |= writer.files
    files["targets"] = "".join(sorted(set(targets))).encode()
    return files


@dataclass(slots=True)
class _Writer:
    bill: Bill
    kind: str
    files: dict[str, bytes] = field(default_factory=dict)
    _manifests: dict[str, str] = field(default_factory=dict)
    """Ref of a file -> the id of its manifest, empty if it has none."""
    _files: dict[str, BilledFile] = field(default_factory=dict)
    _written: dict[tuple[str, ...], str] = field(default_factory=dict)
    """Inputs -> the id of their manifest, which the files of one task share."""
    _read: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Ref of a made file -> the refs of the files that its task read."""

    def __post_init__(self) -> None:
        self._read = {ref: task.read for task in self.bill.tasks for ref in task.made}
        self._files = self.bill.by_ref

    @property
    def prefix(self) -> str:
        return f"gitoid:blob:{self.kind}"

    def made(self) -> Iterator[tuple[BilledFile, str]]:
        """Yield each made file with the id of its manifest."""
        for file in self.bill.files:
            manifest = self.manifest(file.ref)
            if manifest:
                yield file, manifest

    def id(self, file: BilledFile) -> str:
        return file.oid.hex() if self.kind == "sha1" else file.facts.gitoid.hex()

    def manifest(self, ref: str) -> str:
        """Return the id of a file's manifest, after those of its inputs."""
        if ref not in self._manifests:
            self._manifests[ref] = ""  # hostile records could name each other
            self._manifests[ref] = self._write(ref)
        return self._manifests[ref]

    def _write(self, ref: str) -> str:
        file = self._files[ref]
        inputs = file.sources or self._read.get(ref, ())
        if not inputs:
            return self.manifest(file.origin) if file.origin else ""
        if inputs not in self._written:
            self._written[inputs] = self._write_manifest(inputs)
        return self._written[inputs]

    def _write_manifest(self, inputs: tuple[str, ...]) -> str:
        """Add the manifest of these inputs to the files, and return its id."""
        lines = sorted({self._line(used) for used in inputs})
        data = "".join([f"{self.prefix}\n", *lines]).encode()
        digest = object_id("blob", data) if self.kind == "sha1" else object_digest("blob", data)
        name = digest.hex()
        folder = f"manifests/gitoid_blob_{self.kind}/{name[:2]}"
        self.files[f"{folder}/{name[2:]}"] = data
        return name

    def _line(self, ref: str) -> str:
        manifest = self.manifest(ref)
        suffix = f" manifest {manifest}" if manifest else ""
        return f"{self.id(self._files[ref])}{suffix}\n"
