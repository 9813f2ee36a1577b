"""The messages between the layer and the writer. Each message is a line of JSON.

A task sends one request per connection, followed by a body of `body` bytes, and receives one
answer. BitBake's server writes to the writer's standard input and reads from its standard output.
The layer builds these values and the writer validates them. This module uses only the standard
library, since BitBake may run it with Python 3.8, which cannot evaluate the annotations.

Lists of fixed length are NamedTuples, which JSON represents as lists. Hashes and ids are
hexadecimal digits, times are seconds since the epoch, and undecodable bytes in paths are
surrogates.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypedDict

# from tasks: requests


class TaskNames(TypedDict):
    """The description of the sending task in each request."""

    mc: str
    pn: str
    pv: str
    task: str
    """Without `_setscene`."""
    setscene: bool
    workdir: str
    arch: str
    owned: list[str]
    """Directories in WORKDIR, relative to it, that belong to the task."""
    body: int
    """Size of the body that follows the line, in bytes."""


class BeginRequest(TaskNames):
    """The task is about to run."""

    what: Literal["begin"]


class InstalledRequest(TaskNames):
    """The sysroots of the task are installed."""

    what: Literal["installed"]


class _EndRequest(TaskNames):
    what: Literal["end"]
    failed: bool
    signature: str
    """Path of a file with the task's signature data."""
    taskhash: str
    unihash: str
    began: float
    ended: float
    log: str
    """Path of the log, empty if there is none."""
    outputs: list[str]
    """Directories stored in shared state."""
    outside: list[str]
    """Directories with sources outside WORKDIR."""
    sysroot: list[str]
    """Content of the recipe's sysroots: one line per recipe, with its name and task hash."""
    faked: bool
    """Whether a `FakedBody` follows."""


class EndRequest(_EndRequest, total=False):
    """The task has ended."""

    stamp: str
    method: str
    """Hash equivalence method, empty if no server is used."""
    outhash: str
    packed: list[str]
    """Ids, returned by the writer, of the object of shared state that the task packed."""


class LostRequest(TaskNames):
    """The task has ended and cannot be recorded."""

    what: Literal["lost"]
    why: str


class ObjectParts(NamedTuple):
    """The name of an object of shared state: the parts of its archive's name."""

    pn: str
    task: str
    spec: str
    """Part before the unihash, without the two-letter folders."""
    unihash: str


class HasRequest(TaskNames):
    """Query whether an object is available in the store or at a remote."""

    what: Literal["has"]
    object: ObjectParts


class CleanRequest(TaskNames):
    """Make an object unfindable, as `-c cleansstate` does."""

    what: Literal["clean"]
    object: ObjectParts


class ArchiveRequest(TaskNames):
    """Capture a folder as an object."""

    what: Literal["archive"]
    object: ObjectParts
    folder: str
    faked: bool


class _UnpackRequest(TaskNames):
    what: Literal["unpack"]
    object: ObjectParts
    folder: str
    faked: bool
    """Whether the task runs under pseudo, so that the answer lists the entries to create."""


class UnpackRequest(_UnpackRequest, total=False):
    """Check out an object into a folder."""

    packed: list[str]
    """Ids of an object that has no ref yet."""


class SysrootRequest(TaskNames):
    """Compose the sysroots in the body, a `SysrootsBody`."""

    what: Literal["sysroot"]


# from tasks: bodies


class FakedPath(NamedTuple):
    """A path's state, as seen under pseudo."""

    path: str
    inode: int
    mode: int
    uid: int
    gid: int
    rdev: int
    xattrs: list[tuple[str, str]]
    """Name and value, the value in hexadecimal digits."""


class FakedBody(NamedTuple):
    """The state of files in the directories `tops`, as seen under pseudo.

    All paths are relative to one folder, which the request names.
    """

    tops: list[str]
    paths: list[FakedPath]


class StagedPackage(NamedTuple):
    """A recipe, the folder with its staged files, and their manifest."""

    recipe: str
    folder: str
    manifest: str


class SysrootBody(TypedDict):
    """A sysroot to compose, and its content."""

    directory: str
    packages: list[StagedPackage]
    fixmes: list[tuple[str, str]]
    """Pairs of a token and the path that replaces it in this sysroot."""
    lists: list[str]
    """Paths of lists of previously installed files."""


class SysrootsBody(TypedDict):
    """The sysroots of a recipe."""

    sysroots: list[SysrootBody]


# to tasks: answers; a request without a result is answered by an empty object


class ErrorAnswer(TypedDict, total=False):
    """The answer to a request that failed."""

    error: str
    refused: bool
    """Whether the same operation would also fail without prov."""
    hint: str


class PackedAnswer(TypedDict):
    """The answer to `archive`: the ids of the object."""

    packed: list[str]


class ObjectEntry(NamedTuple):
    """An entry that a process under pseudo creates or changes at a path of an object."""

    path: str
    mode: int
    uid: int
    gid: int
    rdev: tuple[int, int] | None
    mtime: int | None
    """In nanoseconds."""
    xattrs: list[tuple[str, str]]
    link: str
    """Path of the first hardlink of a file with several, otherwise empty."""


class UnpackedAnswer(TypedDict):
    """The answer to `unpack`."""

    entries: list[ObjectEntry]


class HasAnswer(TypedDict):
    """The answer to `has`."""

    has: bool


# from the server


class TaskLine(NamedTuple):
    """A task of the build, with the hashes that the server has for it."""

    mc: str
    pn: str
    task: str
    taskhash: str
    unihash: str


class _BuildDone(TypedDict):
    what: Literal["done"]
    targets: list[str]
    result: str
    """`ok`, `failed` or `interrupted`."""
    began: float
    skipped: list[TaskLine]
    executed: list[TaskLine]


class BuildDone(_BuildDone, total=False):
    """The build has ended."""

    network: bool
    """Whether results may be published to other machines; if missing, they may not."""


class _WhichQuestion(TypedDict):
    what: Literal["which"]
    objects: dict[str, ObjectParts]
    """BitBake's task id -> name of the task's object."""
    network: bool


class WhichQuestion(_WhichQuestion, total=False):
    """Query which tasks have objects available."""

    wait: float
    """Seconds to wait for objects that other builds make."""


class EquivalencesQuestion(TypedDict):
    """Query the hash equivalences that other builds recorded."""

    what: Literal["equivalences"]
    known: list[str]
    """Ids of texts that were already reported."""
    network: bool


# to the server


class ReadyWord(TypedDict):
    """The writer accepts requests."""

    ready: int
    """Process id of the writer."""


class NoteWord(TypedDict):
    """A message for the user."""

    note: str


class LostWord(TypedDict):
    """A task that is not recorded."""

    lost: str
    why: str


class PlainWord(TypedDict):
    """A task whose sysroots staging.bbclass must create."""

    plain: str
    why: str


class WhichAnswer(TypedDict):
    """The answer to `which`: the ids of the tasks with objects, sorted."""

    which: list[str]


class EquivalencesAnswer(TypedDict):
    """The answer to `equivalences`: id of a text -> its lines."""

    equivalences: dict[str, list[str]]


class RecordedWord(TypedDict):
    """The last message: the commit of the build, empty if nothing was recorded."""

    recorded: str
