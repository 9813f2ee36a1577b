"""The content of a bill of materials, independent of the format it is written in.

All refs are texts that depend only on what was recorded, so the same build has the same bill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from prov.records.keys import TaskKey
from prov.sbom.contents import ContentFacts
from prov.store.objects import Oid

TOKENS = "Digests of the recorded content, which has tokens in place of build paths."
"""The description of a file whose content on disk differs from the recorded one."""
Purpose = Literal["image", "source", "start", "built", "patch"]
"""What a file is.

`image`: in the target. `source`: from a source. `start`: in the directory in which a command or a
task started, without a record of its origin. `built`: made on the way to the target. `patch`: a
patch.
"""


@dataclass(frozen=True, slots=True)
class BilledFile:
    """A file."""

    ref: str
    path: str
    recipe: str
    """The recipe whose task made the content."""
    purpose: Purpose
    oid: Oid
    facts: ContentFacts
    origin: str = ""
    """The ref of the file of which this one is a copy; empty if it is the first."""
    sources: tuple[str, ...] = ()
    """The refs of the files that depfiles state for it."""
    has_tokens: bool = False
    """Whether the recorded content has tokens in place of paths, so digests on disk differ."""
    is_executable: bool = False

    @property
    def gitoids(self) -> tuple[str, str]:
        """The ids of its content in git's two object formats, as URIs."""
        sha1, sha256 = self.oid.hex(), self.facts.gitoid.hex()
        return f"gitoid:blob:sha1:{sha1}", f"gitoid:blob:sha256:{sha256}"

    @property
    def description(self) -> str:
        """What a reader must know about its digests; usually empty."""
        return TOKENS if self.has_tokens else ""


@dataclass(frozen=True, slots=True)
class BilledSource:
    """A source of a recipe: an archive, a repository, or files beside the recipe."""

    ref: str
    name: str
    url: str = ""
    """A public address, empty if there is none."""
    sha256: str = ""
    git_commit: str = ""
    tree: str = ""
    """The id of a folder beside the recipe."""
    facts: ContentFacts | None = None
    """The content of a file beside the recipe."""
    oid: Oid = b""

    @property
    def swhid(self) -> str:
        """Its SoftWare Hash IDentifier; empty for files and archives."""
        if self.git_commit:
            return f"swh:1:rev:{self.git_commit}"
        return f"swh:1:dir:{self.tree}" if self.tree else ""


@dataclass(frozen=True, slots=True)
class BilledPackage:
    """A recipe whose files are in the bill."""

    ref: str
    name: str
    version: str
    about: Mapping[str, str]
    """license, summary, supplier, purl and cpe, as far as the recipe states them."""
    sources: tuple[BilledSource, ...] = ()
    patches: tuple[str, ...] = ()
    """The refs of patches, in the order in which they were applied."""
    files: tuple[str, ...] = ()
    """The refs of files in the target."""
    licenses: tuple[str, ...] = ()
    """The expressions of license tags in the sources read for it."""
    uses: tuple[str, ...] = ()
    """The refs of packages whose files its tasks read."""
    is_delivered: bool = False
    """Whether files of the target are its."""

    @property
    def cpes(self) -> list[str]:
        """The CPE names that the recipe states."""
        return self.about.get("cpe", "").splitlines()


@dataclass(frozen=True, slots=True)
class BilledFolder:
    """A folder that a task passed to other tasks: its output or its WORKDIR."""

    ref: str
    name: str
    tree: str


@dataclass(frozen=True, slots=True)
class BilledTask:
    """A task run for the target."""

    ref: str
    key: TaskKey
    task_hash: str
    tag: str
    began: float | None
    """Seconds since the epoch."""
    ended: float | None
    folders: tuple[str, ...] = ()
    """The refs of folders that it started with or had in its sysroots."""
    sources: tuple[str, ...] = ()
    """The refs of sources and patches among its inputs."""
    read: tuple[str, ...] = ()
    """The refs of files that it read."""
    problem: str = ""
    """Why files may be missing in `read`; empty if the list is complete."""
    unknown: tuple[TaskKey, ...] = ()
    """Tasks behind it, or itself, of which the store has no record."""
    has_read: bool = False
    """Whether `read` was determined: only tasks that made files need it."""
    made: tuple[str, ...] = ()
    """The refs of files that it made."""
    outputs: tuple[str, ...] = ()
    """The ref of its output folder; none if the output is empty."""
    after: tuple[str, ...] = ()
    """The refs of tasks whose results it used."""
    toolchain: str = ""
    """The id of the tree of host tools."""

    @property
    def gaps(self) -> str:
        """What is not recorded of the task; empty if its inputs and reads are complete."""
        texts = []
        if self.unknown:
            texts.append(f"not recorded in this store: {', '.join(self.unknown)}")
        if self.problem:
            texts.append(f"files read: {self.problem}")
        return "; ".join(texts)


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill of materials."""

    ref: str
    name: str
    """The target."""
    version: str
    build: str
    """The id of the build."""
    created: int
    """When the build began, in seconds since the epoch."""
    targets: tuple[TaskKey, ...]
    files: tuple[BilledFile, ...]
    packages: tuple[BilledPackage, ...]
    folders: tuple[BilledFolder, ...] = ()
    tasks: tuple[BilledTask, ...] = ()

    @property
    def is_image(self) -> bool:
        """Whether the target is a root file system or an image of one."""
        names = [key.task.removeprefix("do_") for key in self.targets]
        return any(name.startswith(("image", "rootfs")) for name in names)

    @property
    def by_ref(self) -> dict[str, BilledFile]:
        """The files by their refs."""
        return {file.ref: file for file in self.files}
