"""The messages between the layer and the writer: what each line of JSON holds.

A task sends one request on a connection of its own, with a body of `body` bytes behind it, and gets
one answer. BitBake's server writes to the writer's standard input, and reads from its standard
output. The layer builds these values and the writer validates them, so that this module needs
nothing but the standard library of the Python that runs BitBake: 3.8 or newer, in which
annotations can't be evaluated.

Lists of fixed length are NamedTuples; JSON has no other form for them than a list. Hashes and ids
are hexadecimal digits, times are seconds since the epoch, paths have undecodable bytes as
surrogates.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypedDict

# of a task: requests


class TaskNames(TypedDict):
    """What each request says of the task that sends it."""

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
    """Bytes that follow the line."""


class BeginRequest(TaskNames):
    """The task is about to run."""

    what: Literal["begin"]


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
    """Path, empty without a log."""
    outputs: list[str]
    """Directories that go to shared state."""
    outside: list[str]
    """Directories with sources outside WORKDIR."""
    sysroot: list[str]
    """What the recipe's sysroots were composed of: a line each, a task and its hash."""
    faked: bool
    """Whether a `FakedBody` follows."""


class EndRequest(_EndRequest, total=False):
    """The task has ended."""

    stamp: str
    method: str
    """Of hash equivalence; empty if no server is asked."""
    outhash: str
    packed: list[str]
    """Ids of the object of shared state that the task packed, as the writer returned them."""


class LostRequest(TaskNames):
    """The task has ended and cannot be recorded."""

    what: Literal["lost"]
    why: str


class ObjectParts(NamedTuple):
    """What an object of shared state is called: the parts of its archive's name."""

    pn: str
    task: str
    spec: str
    """What is before the unihash, without the folders of two letters."""
    unihash: str


class HasRequest(TaskNames):
    """Is an object in the store, or at a remote?"""

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
    """Whether the task is under pseudo, so that it gets a list of entries to make."""


class UnpackRequest(_UnpackRequest, total=False):
    """Put an object in place in a folder."""

    packed: list[str]
    """Ids of an object that no ref holds yet."""


class SysrootRequest(TaskNames):
    """Compose the sysroots that the body names: a `SysrootsBody`."""

    what: Literal["sysroot"]


# of a task: bodies


class FakedPath(NamedTuple):
    """What pseudo says of a path."""

    path: str
    inode: int
    mode: int
    uid: int
    gid: int
    rdev: int
    xattrs: list[tuple[str, str]]
    """Name and value, the value in hexadecimal digits."""


class FakedBody(NamedTuple):
    """What pseudo says of the files in some directories, with paths relative to one folder."""

    tops: list[str]
    paths: list[FakedPath]


class StagedPackage(NamedTuple):
    """A recipe, the folder that it staged its files in, and the manifest of these."""

    recipe: str
    folder: str
    manifest: str


class SysrootBody(TypedDict):
    """A sysroot to compose, and what it is to contain."""

    directory: str
    packages: list[StagedPackage]
    fixmes: list[tuple[str, str]]
    """Token, and the path that it stands for here."""
    lists: list[str]
    """Lists of what was installed in the sysroots before."""


class SysrootsBody(TypedDict):
    """The sysroots of a recipe."""

    sysroots: list[SysrootBody]


# to a task: answers; an empty object is one, too


class ErrorAnswer(TypedDict, total=False):
    """What was asked for could not be done."""

    error: str
    refused: bool
    """Doing it without prov would fail as well."""
    hint: str


class PackedAnswer(TypedDict):
    """To `archive`: the ids of the object."""

    packed: list[str]


class ObjectEntry(NamedTuple):
    """What a process under pseudo makes, or changes, at a path of an object."""

    path: str
    mode: int
    uid: int
    gid: int
    rdev: tuple[int, int] | None
    mtime: int | None
    """In nanoseconds."""
    xattrs: list[tuple[str, str]]
    link: str
    """The path of the first of the files that are hardlinked; empty for any other entry."""


class UnpackedAnswer(TypedDict):
    """To `unpack`."""

    entries: list[ObjectEntry]


class HasAnswer(TypedDict):
    """To `has`."""

    has: bool


# of the server


class TaskLine(NamedTuple):
    """A task of the build, as the server knows it."""

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
    """The build is over."""

    network: bool
    """Whether results may be published to other machines; if not given, they may not."""


class WhichQuestion(TypedDict):
    """Of which tasks are objects available?"""

    what: Literal["which"]
    objects: dict[str, ObjectParts]
    """By the tasks' BitBake ids."""
    network: bool


class EquivalencesQuestion(TypedDict):
    """Which hash equivalences did other builds record?"""

    what: Literal["equivalences"]
    known: list[str]
    """Ids of the texts that were reported before."""
    network: bool


# to the server


class ReadyWord(TypedDict):
    """The writer listens."""

    ready: int
    """Its process id."""


class NoteWord(TypedDict):
    """A text for the user."""

    note: str


class LostWord(TypedDict):
    """A task that is not recorded."""

    lost: str
    why: str


class PlainWord(TypedDict):
    """A task whose sysroots staging.bbclass has to make."""

    plain: str
    why: str


class WhichAnswer(TypedDict):
    """To `which`: the ids of these tasks, sorted."""

    which: list[str]


class EquivalencesAnswer(TypedDict):
    """To `equivalences`: id of a text -> its lines."""

    equivalences: dict[str, list[str]]


class RecordedWord(TypedDict):
    """The last word: the commit of the build, empty if there is nothing to record."""

    recorded: str
