"""The answers of `--json`: keys, types and descriptions.

The JSON Schemas in docs/schema are generated from these types: the docstring of a class or an
attribute is its description there. `tests.schema.check` checks every answer in the tests.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from prov.fsck.findings import Kind

Id = Annotated[str, Meta(pattern="^[0-9a-f]{40}$", description="An id: 40 hex digits.")]
Time = Annotated[int, Meta(ge=0, description="In seconds since the epoch.")]
Seconds = Annotated[float, Meta(ge=0, description="A duration in seconds.")]
Bytes = Annotated[int, Meta(ge=0, description="In bytes.")]
Count = Annotated[int, Meta(ge=0)]
Mode = Annotated[int, Meta(ge=0, description="File type and permissions, as in `st_mode`.")]
Task = Annotated[str, Meta(pattern="^[^:]+:[^:]+$", description="A task: `RECIPE:TASK`.")]


class Answer(Struct, tag_field="kind"):
    """The answer of a command."""

    commands: ClassVar[tuple[str, ...]]
    """Commands that print it."""
    schema: Literal[1]
    """The version of the answers: it grows when a key is removed or changes its meaning."""


# runs


class Run(Struct):
    """A recorded run of a task."""

    tag: str
    """Its name: a tag of the store, or `record/…` if the store has only the record of the run."""
    commit: Id
    """The commit of its WORKDIR, or of its record."""
    recipe: str
    task: Task
    task_hash: Id
    """The id of its inputs."""
    number: Count
    """The number of the run under its task hash, from 1."""
    failed: bool
    time: Time
    """When the run ended."""


class LoggedRun(Run):
    """A recorded run, with the build that ran it."""

    build: Id | None
    """The build in which it ran; null if no build lists it."""


class Log(Answer, tag="log"):
    """Recorded runs, the newest first."""

    commands = ("prov log [RECIPE[:TASK]]",)
    runs: list[LoggedRun]


class FileVersion(Struct):
    """A build that changed a file."""

    build: Id
    time: Time
    """When the build began."""
    blob: Id | None
    """The file's blob, or the directory's tree; null if the build deleted the path."""


class LogOfPath(Answer, tag="log-of-path"):
    """Builds that changed a file, the newest first."""

    commands = ("prov log PATH",)
    file: str
    versions: list[FileVersion]


class ShownRun(Answer, tag="run"):
    """A recorded run with its inputs, output, environment and log."""

    commands = ("prov show",)
    run: Run
    inputs: dict[str, str]
    """Path in the inputs tree -> its text; of sources and patches, `blob ID` or `tree ID`."""
    output: Id | None
    """The output's id; null if the run has no output."""
    output_paths: list[str]
    """Paths in the output, at the top level."""
    environment: str
    """The task's environment: a line for each variable."""
    facts: dict[str, str]
    """Recorded facts, as text: `seconds` is the duration, `began` the start in seconds since the
    epoch.
    """
    log: str


class PathUses(Struct):
    """A path that a run used."""

    path: str
    """The path that the run saw. In the directory of a recorded command, it is relative."""
    uses: list[
        Literal[
            "opened",
            "executed",
            "listed",
            "stat",
            "symlink",
            "missing",
            "written",
            "shared",
        ]
    ]
    """`missing`: looked for and not found. `written`: created or changed by the run itself.
    `shared`: the use may be that of a different task."""
    programs: list[str]
    """The programs that used the path, if they were recorded."""


class OwnedPaths(Struct):
    """Used paths with the same owner."""

    owner: Literal["package", "sysroots", "workdir", "rest"]
    """`package`: the output of a task. `sysroots`: common folders of several packages, and paths in
    no package. `workdir`: the WORKDIR, or the directory of a recorded command. `rest`: the
    toolchain, or the rest of the machine."""
    package: Task | None
    """The task whose output the package is; null for other owners."""
    paths: list[PathUses]


class RunReads(Answer, tag="reads"):
    """The files that a run read.

    `opens`, `probes` and `toolchain` state how complete the list is: `complete`, `not recorded`, or
    `incomplete: ` and the reason.
    """

    commands = ("prov reads",)
    run: Run
    opens: str
    """Opened, executed and listed files."""
    probes: str
    """Failed lookups, uses of `stat`, and symbolic links on the way."""
    toolchain: str
    """Uses of both kinds outside the WORKDIR, the sysroots and the direct packages."""
    groups: list[OwnedPaths]


# builds


class BuildRow(Struct):
    """A recorded build."""

    id: Id
    time: Time
    """When it began."""
    seconds: Seconds
    labels: list[str]
    pinned: bool
    facts: dict[str, str]
    """Recorded facts, as text, such as `result`, `targets`, `host`, and numbers of tasks by outcome
    (`ran`, `restored`, …).
    """


class Builds(Answer, tag="builds"):
    """Recorded builds, the newest first."""

    commands = ("prov builds",)
    builds: list[BuildRow]


class Label(Struct):
    """A label of a build."""

    label: str
    build: Id
    time: Time
    """When the build began."""


class Labels(Answer, tag="labels"):
    """Labels of builds."""

    commands = ("prov label",)
    labels: list[Label]


# differences


class Difference(Struct):
    """A path that differs."""

    path: str
    change: Literal["added", "removed", "changed", "renamed", "mode", "type", "attributes"]
    old_mode: Mode | None
    """Null if the path was added."""
    new_mode: Mode | None
    """Null if the path was removed."""
    old_oid: Id | None
    """The old blob or tree; null if the path was added or its content is not compared."""
    new_oid: Id | None
    """The new blob or tree; null if the path was removed or its content is not compared."""
    old_path: str | None
    """The old path of a renamed file; null for other changes."""
    detail: str
    """Changed attributes that git's modes lack, or the target of a symbolic link; may be empty."""


class Diff(Answer, tag="diff"):
    """Differences between two trees, sorted by path."""

    commands = ("prov diff NAME [OTHER]",)
    old: str
    """The name of the old tree."""
    new: str
    """The name of the new tree."""
    differences: list[Difference]


class Change(Struct):
    """A changed input of a task."""

    kind: str
    """The kind of input, such as `variable`, `script`, `source` or `patch`; `same inputs` for a
    task that produced a different output from identical inputs.
    """
    name: str
    """The input's name; empty if its kind has only one."""
    diff: list[str]
    """The lines of its difference."""


class CauseGroup(Change):
    """A changed input, and all tasks that have it."""

    tasks: list[Task]


class Recipes(Struct):
    """Differences between the recipes of two builds."""

    versions: dict[str, tuple[str, str]]
    """Recipe -> its old and new version."""
    added: list[str]
    removed: list[str]


class TaskDifference(Struct):
    """A task that differs between two builds."""

    task: Task
    old: Id | None
    """Its task hash in the old build; null if the build lacks it."""
    new: Id | None
    """Its task hash in the new build; null if the build lacks it."""
    failed: bool
    """Whether it failed in the new build."""
    root_cause: bool
    """Whether its own inputs changed."""


class BuildDiff(Answer, tag="build-diff"):
    """Differences between two builds."""

    commands = ("prov diff BUILD [OTHER]",)
    old: Id
    """The old build."""
    new: Id
    """The new build."""
    recipes: Recipes
    causes: list[CauseGroup]
    """The root causes."""
    tasks: list[TaskDifference]
    files: dict[str, list[Difference]]
    """Target -> the paths of its output that differ; targets without a difference are left out."""


class Cause(Struct):
    """A root cause: a task whose own inputs changed."""

    task: Task
    version: tuple[str, str] | None
    """The recipe's old and new version; null if it is unchanged."""
    changes: list[Change]
    """Empty if the task's inputs are not recorded in this store."""
    chain: list[Task]
    """The tasks from this one up to the explained one."""


class Nearest(Struct):
    """The recorded inputs of a task that differ least from its current ones."""

    task_hash: Id
    different: list[str]
    """The differing inputs, such as `variable CFLAGS`."""


class Why(Answer, tag="why"):
    """Why a task ran, or would run."""

    commands = ("prov why",)
    task: Task
    verdict: str
    """Whether the task would run, or in which build it ran, in words."""
    against: str | None
    """The state it is compared with, in words; null if no earlier run is recorded."""
    causes: list[Cause]
    nearest: Nearest | None


class Step(Struct):
    """A task's part in a file."""

    task: Task | None
    """Null for a change outside any task."""
    what: Literal["made", "rewrote", "copied"]
    path: str
    """The file's path in the task's WORKDIR."""
    commit: Id
    """The commit of the run."""
    origin: str | None = field(name="from")
    """The origin of a copy; null for other steps."""
    patches: list[str]
    """The task's patches that change the file."""


class ReadFile(Struct):
    """A file read to make an object."""

    path: str
    """Relative to the WORKDIR, or absolute if it is outside."""
    task: Task | None
    """The task that staged it, for a file of a sysroot; otherwise null."""


class CompilationUnit(Struct):
    """An object, and the files read to make it."""

    made: str
    """The path of the object."""
    read: list[ReadFile]
    """The source comes first."""
    file: str
    """The depfile that states it."""


class Blame(Answer, tag="blame"):
    """The tasks and sources that made a file."""

    commands = ("prov blame",)
    file: str
    mode: Mode
    since: Id | None
    """The build since which the file's content is unchanged; null if no build has that content."""
    steps: list[Step]
    """The last step comes first."""
    sources: dict[str, str]
    """Source of the first task's recipe -> its checksum, commit or id."""
    units: list[CompilationUnit]
    """The compilation units of an object, a program or an archive; empty if no depfile states
    them."""


class BlamedLine(Struct):
    """A line of a file."""

    build: Id
    """The build that added the line."""
    origin: str = field(name="from")
    """The task that wrote the line, and its patch; empty if unknown."""
    text: str
    """The line without its newline."""


class BlameLines(Answer, tag="blame-lines"):
    """The origin of each line of a file."""

    commands = ("prov blame --lines",)
    file: str
    lines: list[BlamedLine]


# dependencies


class UnusedDependency(Struct):
    """A declared dependency without a recorded use."""

    package: Task
    """The task whose output it is."""
    certainty: Literal["proved", "traced", "candidate", "needed"]
    """`proved`: the recipe's outputs are the same without it. `traced`: complete traces contain no
    use. `candidate`: not every kind of use was recorded. `needed`: with `--prove`, a task failed or
    had a different output without it."""
    tasks: list[Task]
    """The tasks that have it in their sysroots."""
    reason: str
    """For a candidate, what is not known; for a needed one, the result without it; otherwise
    empty."""


class FloatingDependency(Struct):
    """A recipe that is not declared, and provides files that tasks looked for in vain."""

    provider: str
    evidence: list[str]
    cyclic: bool
    """Whether the provider depends on the recipe, so that it cannot be declared."""


class TransitiveDependency(Struct):
    """A used package that is in the sysroots only because a different package needs it."""

    package: Task
    chain: list[str]
    """Why it is in the sysroots."""
    evidence: list[str]


class IdleTool(Struct):
    """A host tool that a task declares and did not execute."""

    task: Task
    tool: str
    certainty: Literal["traced", "candidate"]
    """`traced`: complete traces contain no use. `candidate`: not every kind of use was recorded, or
    a task that ran at the same time may have used it."""
    reason: str
    """For a candidate, what is not known; otherwise empty."""


class UnjudgedTask(Struct):
    """A task about whose dependencies nothing is concluded."""

    task: Task
    reason: str


class RecipeAdvice(Struct):
    """What the recorded reads of a recipe's tasks show about its dependencies."""

    recipe: str
    unused: list[UnusedDependency]
    floating: list[FloatingDependency]
    transitive: list[TransitiveDependency]
    idle: list[IdleTool]
    unknown: list[UnjudgedTask]
    patch: str
    """The advice as a unified diff of the recipe's file; empty if it changes nothing."""


class Advice(Answer, tag="advice"):
    """Unused and undeclared dependencies of recipes."""

    commands = ("prov advise",)
    recipes: list[RecipeAdvice]


class BisectCause(CauseGroup):
    """A changed input that makes a build bad, and all tasks that have it."""

    commits: str
    """The range of commits, `OLD..NEW`, if the input is a source in git; otherwise empty."""


class Bisect(Answer, tag="bisect"):
    """The result of a bisection."""

    commands = ("prov bisect start", "prov bisect continue", "prov bisect replay")
    good: Id
    """The last good build."""
    bad: Id
    """The first bad build."""
    between: Count
    """The number of builds between them that could not be judged."""
    checkouts: Count
    """The number of checked-out trees."""
    flaky: bool
    """Whether the command's verdict was not the same each time."""
    sentence: str
    """The result in words."""
    causes: list[BisectCause]
    """The smallest set of changes between the two builds that is bad; empty if changed inputs do
    not explain the result.
    """
    earlier: list[BisectCause]
    """Changes before the last good build without which the causes are not bad."""


class BisectCommits(Answer, tag="bisect-commits"):
    """The result of a bisection of a git history."""

    commands = ("prov bisect commits",)
    commits: list[str]
    """The first bad commit; several if commits among them could not be judged."""
    subject: str
    """The subject of the first bad commit; empty if there are several."""
    tested: Count
    """The number of commits for which the test ran."""
    steps: Count
    """The number of steps that ran; the others had the inputs of recorded runs."""


# the project


class PlanStep(Struct):
    """What a build would do with a task."""

    task: Task
    action: Literal["up to date", "restore", "fetch", "run", "may run", "stale"]
    reason: str
    task_hash: Id | None
    """The id of its inputs; null if it is unknown until other tasks have run."""
    static_key: Id
    """The id of its own inputs and its dependencies' static keys."""
    output: Id | None
    """The recorded output's id; null if there is none, or it is unknown yet."""
    workdir: str


class Plan(Answer, tag="plan"):
    """The tasks that a build would run. Plan hooks read the same form."""

    commands = ("prov plan",)
    targets: list[Task]
    total: Count
    """The number of tasks with the action `run` or `may run`."""
    steps: list[PlanStep]
    """The needed tasks, in an order in which they can run; for plan hooks, all tasks."""
    dry_run: bool | UnsetType = UNSET
    """Only for plan hooks: true if nothing will be built."""


class RecipeStatus(Struct):
    """A recipe, and its tasks that would run."""

    recipe: str
    to_run: list[Task]
    """Empty if the recipe is up to date."""


class Status(Answer, tag="status"):
    """Which recipes are up to date."""

    commands = ("prov status",)
    recipes: list[RecipeStatus]


class VariableValue(Struct):
    """A value of a variable, and where it is set."""

    value: str
    origin: str
    """The file, and what in it sets the value."""


class Variable(Answer, tag="variable"):
    """A variable's value and where it is set."""

    commands = ("prov var",)
    name: str
    recipe: str
    expanded: str
    """The value after expansion."""
    history: list[VariableValue]
    """The values before expansion; each replaced the one before it."""


class SysrootPackage(Struct):
    """A package in a task's sysroots."""

    package: Task
    """The task whose output it is."""
    sysroot: str
    """The sysroot's directory, such as `recipe-sysroot`; `direct` for an output that is used
    without a sysroot.
    """
    output: Id | None
    """The output's id; null if it is not built."""
    chain: list[str]
    """The dependencies that lead to the package, in words."""
    files: Count
    bytes: Bytes


class SysrootContents(Struct):
    """Tasks of a recipe with the same packages in their sysroots."""

    recipe: str
    tasks: list[Task]
    packages: list[SysrootPackage]


class Sysroot(Answer, tag="sysroot"):
    """The packages in the sysroots of a recipe's tasks."""

    commands = ("prov sysroot",)
    sysroots: list[SysrootContents]


class OwningPackage(SysrootPackage):
    """A package that has a path."""

    kind: Literal["file", "folder", "link"]
    """What the path is."""


class SysrootWhy(Answer, tag="sysroot-why"):
    """The packages that a path in a sysroot is from."""

    commands = ("prov sysroot --why",)
    path: str
    """The path in the sysroot."""
    packages: list[OwningPackage]


# reproducing


class Repetition(Struct):
    """A repeated task."""

    task: Task
    tag: str
    """The recorded run."""
    same: bool
    """Whether the result is identical."""
    problem: str
    """Why the repetition failed; empty if it did not."""
    output_differences: list[Difference]
    workdir_differences: list[Difference]


class Reproduced(Answer, tag="reproduced"):
    """How the results of repeated tasks compare."""

    commands = ("prov rerun", "prov reproduce RECIPE[:TASK]")
    tasks: list[Repetition]


class DifferingOutput(Struct):
    """One of several outputs."""

    output: Id
    where: str
    """The remote with this output, or the run that produced it, in words."""


class DifferingTask(Struct):
    """A task that produced different outputs from identical inputs."""

    task: Task
    task_hash: Id
    outputs: list[DifferingOutput]
    diff: list[str]
    """The paths that differ between the first two outputs, a line each."""


class RecordedDifferences(Answer, tag="recorded-differences"):
    """Tasks with different recorded outputs from identical inputs."""

    commands = ("prov reproduce --recorded",)
    tasks: list[DifferingTask]


class EmbeddedPath(Struct):
    """A file that embeds build paths."""

    task: Task
    path: str
    """The file's path in the task's output."""
    kind: Literal["text", "binary", "held"]
    """`text` and `binary` files are relocatable, `held` ones are not."""
    places: list[str]
    """The embedded paths: `WORKDIR`, `SYSROOT`, `NATIVE` or `HOSTTOOLS`."""


class BuildPaths(Answer, tag="buildpaths"):
    """Output files that embed build paths."""

    commands = ("prov buildpaths",)
    files: list[EmbeddedPath]


# the store


class Problem(Struct):
    """A damaged or unneeded part of a store."""

    kind: Kind
    where: str
    """A ref, an id, or a path in the store."""
    what: str
    needed_by: list[str]
    """Refs that need it."""
    repair: str
    """What `--repair` does about it; empty if it cannot do anything."""
    harmless: bool
    """Whether nothing depends on it: it is not an error."""


class RepairStep(Struct):
    """A step of a repair."""

    where: str
    """A ref, an id, or a path in the store."""
    what: str


class Fsck(Answer, tag="fsck"):
    """A store's damage, and its repair."""

    commands = ("prov fsck",)
    problems: list[Problem]
    """Problems before the repair."""
    done: list[RepairStep]
    """Steps of the repair; empty without `--repair`."""
    left: list[Problem]
    """Problems after the repair; without `--repair`, all problems."""


class DeletedRef(Struct):
    """A ref that a rule deletes."""

    ref: str
    rule: str
    """The rule of garbage collection."""


class Gc(Answer, tag="gc"):
    """Deleted refs and objects, or those that it would delete."""

    commands = ("prov gc",)
    dry_run: bool
    """Whether nothing was deleted."""
    refs: list[DeletedRef]
    objects: Count
    bytes: Bytes
    """The size of the objects."""
    pool_files: Count
    pool_bytes: Bytes
    scratch_directories: Count
    """Leftover scratch directories of builds."""
    in_use: bool
    """Whether a build is running, so that objects were kept."""
    free_bytes: Bytes
    """The free space on the store's file system afterwards."""


class Forget(Answer, tag="forget"):
    """Removed refs and objects, or those that it would remove, and where copies may remain."""

    commands = ("prov forget",)
    dry_run: bool
    """Whether nothing was removed. Objects, WORKDIRs and pool files are not counted then."""
    refs: list[str]
    """Removed refs."""
    moved: list[str]
    """Rewritten refs that no longer contain it."""
    objects: Count
    workdirs: list[str]
    """Removed WORKDIRs on disk."""
    pool_files: Count
    remotes: dict[str, Count]
    """Remote -> number of removed results."""
    left: list[str]
    """Where copies may remain, and why."""


class Usage(Struct):
    """The space that a recipe, task, kind or build takes up alone."""

    name: str
    """`shared` and `held by no ref` are the last rows."""
    objects: Count
    bytes: Bytes
    """The compressed size of the objects."""


Cell = str | int | float | None


class Query(Answer, tag="query"):
    """The rows that a query returns."""

    commands = ("prov query",)
    columns: list[str]
    rows: list[dict[str, Cell]]
    """Column -> value of each row. Bytes are hex digits."""


class Du(Answer, tag="du"):
    """Sizes of a store's parts, the largest first; by build, the newest first."""

    commands = ("prov du",)
    by: Literal["recipe", "task", "kind", "part", "build"]
    rows: list[Usage]


class Remote(Struct):
    """A remote."""

    name: str
    url: str
    """The URL without its password."""
    priority: int
    """Remotes with lower numbers are asked first."""
    trust: str
    push: bool
    claims: bool
    """Whether builds claim the tasks that they run there."""
    results: Count | None
    """The number of published results; null before the first contact."""
    problem: str
    """Why the last push failed; empty if it did not."""


class Remotes(Answer, tag="remotes"):
    """The remotes, in the order in which they are asked."""

    commands = ("prov remote list",)
    remotes: list[Remote]


class Finding(Struct):
    """The result of a check of the machine."""

    subject: str
    """What was checked, such as `git`, `sandbox` or `disk`."""
    state: Literal["ok", "warning", "error"]
    text: str
    advice: str
    """What to do; empty if the state is `ok`."""


class Doctor(Answer, tag="doctor"):
    """The results of the checks of the machine."""

    commands = ("prov doctor",)
    findings: list[Finding]


class Worker(Struct):
    """A worker of a farm."""

    name: str
    address: str
    jobs: Count
    """The number of tasks that it runs at once."""
    offers_network: bool
    """Whether it runs tasks that need the network."""


class Farm(Answer, tag="farm"):
    """The connected workers of a farm, sorted by name."""

    commands = ("prov farm status",)
    url: str
    """The address of the scheduler."""
    dashboard: str
    """The address of Dask's dashboard; empty if it has none."""
    workers: list[Worker]
