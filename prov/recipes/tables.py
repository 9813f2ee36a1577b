"""The tables of recipes, classes and prov.toml: keys, value types and descriptions.

`prov.recipes.checks` checks the tables of files against these types. The JSON Schemas in `schema/`
are generated from them; a test verifies that they are up to date.
"""

from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from prov.recipes.recipe import (
    LONGEST_TASK,
    VARIABLE_NAME,
    Architecture,
    InputKind,
    Interpreter,
    SysrootScope,
)

Sandbox = Literal["auto", "bwrap", "none"]
SANDBOXES: tuple[Sandbox, ...] = get_args(Sandbox)

T = TypeVar("T")

END = r"$(?!\n)"
"""The end of a text. Python's `$` alone also matches before a final newline."""
LARGEST_NUMBER = 1 << 40


def about(text: str) -> Meta:
    """Return a key's description, which editors show."""
    return Meta(description=text)


def given(value: T | UnsetType, default: T) -> T:
    """Return the value of a key, or the default if the key is unset."""
    return default if value is UNSET else value


Texts = tuple[str, ...]
Tables = dict[str, Any]
TaskName = Annotated[
    str,
    Meta(
        pattern=rf"^[a-z][a-z0-9_]*{END}",
        max_length=LONGEST_TASK,
        description=f"at most {LONGEST_TASK} lower-case letters, digits and _",
    ),
]
VariableName = Annotated[
    str,
    Meta(pattern=rf"^{VARIABLE_NAME.pattern}{END}", description="only letters, digits and _"),
]
SysrootPath = Annotated[
    str, Meta(pattern="[^/]", description='a path in the sysroot, such as "/usr/bin/ar"')
]
Sha256 = Annotated[
    str, Meta(pattern=rf"^[0-9a-f]{{64}}{END}", description="64 lower-case hex digits")
]
Commit = Annotated[
    str,
    Meta(
        pattern=rf"^[0-9a-f]{{40}}{END}",
        description="40 lower-case hex digits, not a branch or a tag, which can move",
    ),
]
Fraction = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Jobs = Annotated[int, Meta(ge=1, le=1024, description="a number from 1 to 1024")]
Number = Annotated[
    float, Meta(ge=0, lt=LARGEST_NUMBER, description="a number from 0 to a trillion")
]


class SourceTable(Struct, frozen=True, forbid_unknown_fields=True):
    """A source file, folder, archive or repository: exactly one of `file`, `url`, `git`."""

    file: Annotated[str | UnsetType, about("A path relative to the recipe file.")] = UNSET
    url: Annotated[
        str | UnsetType, about("An https://, http:// or file:// URL; requires `sha256`.")
    ] = UNSET
    git: Annotated[
        str | UnsetType, about("The address of a git repository; requires `commit`.")
    ] = UNSET
    sha256: Sha256 | UnsetType = UNSET
    commit: Commit | UnsetType = UNSET
    name: Annotated[
        str | UnsetType,
        about("Name below sources/. Default: the last part of the path or URL."),
    ] = UNSET
    unpack: Annotated[bool, about("Unpack archives.")] = True
    exclude: Annotated[
        Texts | UnsetType, about("gitignore patterns of files to exclude from a folder.")
    ] = UNSET
    gitignore: Annotated[
        bool | UnsetType, about("Exclude files that the folder's .gitignore files list.")
    ] = UNSET
    submodules: Annotated[bool | UnsetType, about("Fetch the submodules of a git source.")] = UNSET


class TaskTable(Struct, frozen=True, forbid_unknown_fields=True):
    """A task."""

    script: Annotated[str, about("The script to run.")] = ""
    script_file: Annotated[
        str, about("A file that contains the script, relative to this file.")
    ] = ""
    interpreter: Annotated[Interpreter, about("The interpreter that runs the script.")] = "sh"
    dir: Annotated[str, about("The script's working directory: ${WORKDIR} or a path below it.")] = (
        "${WORKDIR}"
    )
    after: Annotated[
        Texts, about("Tasks of this recipe to run first. This task continues in their WORKDIR.")
    ] = ()
    from_: Annotated[Texts, about("Tasks whose outputs are copied into WORKDIR.")] = msgspec.field(
        name="from", default=()
    )
    needs: Annotated[Texts, about("Tasks whose outputs go into a sysroot.")] = ()
    outputdir: Annotated[str | Texts, about("Folders below WORKDIR to record as output.")] = ()
    inputs: Annotated[
        tuple[InputKind, ...], about("Files to copy into WORKDIR before the script runs.")
    ] = ()
    postprocess: Annotated[
        str, about("A script to run on the output in each place where it is used.")
    ] = ""
    hosttools: Annotated[
        Texts, about("Host programs to allow in addition to the default ones.")
    ] = ()
    vardeps: Annotated[Texts, about("Additional variables that the script uses.")] = ()
    vardepsexclude: Annotated[Texts, about("Variables to exclude from the task hash.")] = ()
    network: Annotated[bool, about("Allow network access.")] = False
    deploy: Annotated[bool, about("Deploy the output.")] = False


class PackageTable(Struct, frozen=True, forbid_unknown_fields=True):
    """A package."""

    files: Annotated[Texts, about("gitignore patterns of its files below image/.")] = ()
    rdepends: Annotated[
        Texts, about("Packages needed at run time, in addition to detected ones.")
    ] = ()
    summary: Annotated[str, about("One-line description. Default: the recipe's.")] = ""
    allow_empty: Annotated[bool, about("Create the package even if it has no files.")] = False
    postinst: Annotated[str, about("A shell script to run after installation.")] = ""
    postinst_depends_native: Annotated[
        Texts, about("Recipes whose -native variants `postinst` needs.")
    ] = ()


class VariantTable(Struct, frozen=True, forbid_unknown_fields=True):
    """Recipe keys for the -native variant only."""

    name: Annotated[
        str | UnsetType, about("The recipe's name. Default: the file name without .toml.")
    ] = UNSET
    version: Annotated[str | UnsetType, about("The variable PV; required.")] = UNSET
    summary: Annotated[str, about("One-line description for packages.")] = ""
    license: Annotated[str, about("The variable LICENSE.")] = "unknown"
    supplier: Annotated[str, about("Who distributes the sources, for `prov sbom`.")] = ""
    purl: Annotated[str, about("The package URL, for `prov sbom`.")] = ""
    cpe: Annotated[str | Texts, about("CPE 2.3 names, for `prov sbom`.")] = ()
    arch: Annotated[Architecture, about("The architecture to build for.")] = "target"
    inherit: Annotated[Texts, about("Classes to inherit.")] = ()
    classextend: Annotated[Texts, about('["native"] also defines the recipe NAME-native.')] = ()
    depends: Annotated[Texts, about("Recipes whose outputs go into the sysroot.")] = ()
    depends_native: Annotated[
        Texts,
        about("Recipes whose -native variants go into the native sysroot."),
    ] = ()
    rdepends: Annotated[
        Texts, about("Recipes that all recipes depending on this one also need.")
    ] = ()
    provides: Annotated[Texts, about("Other names for this recipe.")] = ()
    patches: Annotated[
        Texts, about("Patch files, relative to the recipe file, in the order to apply them.")
    ] = ()
    build: Annotated[Texts, about("Tasks to build when the target is only a recipe.")] = ()
    export: Annotated[
        Texts, about("Variables in the environment of tasks that use @toolchain.")
    ] = ()
    sources: Annotated[tuple[SourceTable, ...], about("The sources of the recipe.")] = ()
    variables: Annotated[
        dict[VariableName, str], about("Variables; values may refer to others as ${NAME}.")
    ] = {}
    functions: Annotated[dict[VariableName, str], about("Name -> shell function body.")] = {}
    tasks: Annotated[dict[TaskName, TaskTable], about("Tasks, by name.")] = {}
    packages: Annotated[dict[str, PackageTable], about("Packages, by name.")] = {}
    sysroot: Annotated[
        SysrootScope,
        about('"recipe": a task also sees the `needs` of the tasks before it.'),
    ] = "task"
    sysroot_owner: Annotated[
        dict[SysrootPath, str],
        about("Path in a sysroot -> the recipe whose file is used on a conflict."),
    ] = {}
    direct: Annotated[
        bool, about("Use the outputs from folders of their own, not from a sysroot.")
    ] = False


class RecipeTable(VariantTable, frozen=True, forbid_unknown_fields=True):
    """A prov recipe, or a class for recipes to inherit."""

    native: Annotated[
        VariantTable | UnsetType, about("Keys for the -native variant only, joined last.")
    ] = UNSET


class GcTable(Struct, frozen=True, forbid_unknown_fields=True):
    """Rules for `prov gc`."""

    auto: Annotated[bool, about("Run gc once a day, during builds.")] = False
    builds: Annotated[Number, about("Keep the outputs of the last N builds.")] = 20
    days: Annotated[Number, about("Keep everything newer than N days.")] = 30
    workdirs: Annotated[Number, about("Keep the WORKDIRs of the last N builds.")] = 5
    size: Annotated[
        str | UnsetType,
        about('Delete the least recently used outputs above a total size, such as "50G".'),
    ] = UNSET


class StoreTable(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of the store."""

    min_free: Annotated[
        str | UnsetType,
        about('Refuse to start a build with less free space on the store\'s disk, such as "5G".'),
    ] = UNSET


class TraceTable(Struct, frozen=True, forbid_unknown_fields=True):
    """Which tasks run under strace."""

    sample: Annotated[Fraction, about("Trace this fraction of the tasks that run.")] = 0.0


class FarmTable(Struct, frozen=True, forbid_unknown_fields=True):
    """The farm, or the Remote Execution API server, that runs tasks."""

    url: Annotated[
        str,
        about(
            "Dask's scheduler, such as tls://build1:8786, or a Remote Execution API server, such as"
            " grpcs://build1:443/INSTANCE."
        ),
    ] = ""
    credentials: Annotated[
        str | UnsetType,
        about("Folder of the certificates. Default: ~/.config/prov/farm."),
    ] = UNSET
    properties: Annotated[
        dict[str, str],
        about("Platform properties of a Remote Execution server's actions."),
    ] = {}
    python: Annotated[
        str,
        about("Python at a Remote Execution server's workers. Default: prov's version of it."),
    ] = ""
    actions: Annotated[Jobs, about("Run up to N actions of a Remote Execution server at once.")] = 8
    jobs: Annotated[Jobs, about("Run up to N jobs of make in each of these actions.")] = 1
    repository: Annotated[
        str,
        about("How workers reach the store: https://HOST[:PORT], ssh://USER@HOST, or file."),
    ] = ""
    verify: Annotated[Fraction, about("Run this fraction of the orders at a second worker.")] = 0.0
    shortest: Annotated[
        float | UnsetType,
        about("Run tasks with a shorter recorded duration (seconds) on this machine."),
    ] = UNSET


class RecipeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings for one recipe."""

    variables: Annotated[Tables, about("Variables for this recipe.")] = {}


class ProjectTable(Struct, frozen=True, forbid_unknown_fields=True):
    """A prov project: prov.toml."""

    recipes: Annotated[Texts, about("Recipe folders.")] = ("recipes",)
    classes: Annotated[Texts, about("Class folders, searched before prov's own.")] = ("classes",)
    builddir: Annotated[str, about("Folder for WORKDIRs and deployed files.")] = "build"
    machine: Annotated[str, about("The variable MACHINE.")] = "default"
    arch: Annotated[
        str | UnsetType, about("The variable ARCH. Default: the host's architecture.")
    ] = UNSET
    sandbox: Annotated[
        Sandbox, about("Run tasks in bubblewrap if it works (auto), always (bwrap), or never.")
    ] = "auto"
    environment: Annotated[Texts, about("Environment variables to pass to tasks.")] = ()
    exclude: Annotated[Texts, about("gitignore patterns of files not to record.")] = ()
    xattrs: Annotated[Texts, about("Extended attributes to record.")] = ()
    plan_hooks: Annotated[Texts, about("Programs to run on each plan before it starts.")] = ()
    gc: GcTable | UnsetType = UNSET
    store: StoreTable | UnsetType = UNSET
    trace: TraceTable | UnsetType = UNSET
    farm: FarmTable | UnsetType = UNSET
    provider: Annotated[
        dict[str, str],
        about("Name -> the recipe to use if several provide the name."),
    ] = {}
    variables: Annotated[Tables, about("Variables for all recipes.")] = {}
    recipe: Annotated[dict[str, RecipeSettings], about("Settings by recipe.")] = {}
