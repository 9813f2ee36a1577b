"""The tables of recipes, classes and prov.toml: keys, types of values, and descriptions.

`prov.recipes.checks` checks a file's table against one of these. The JSON Schemas in `schema/` are
generated from them; a test keeps them up to date.
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
"""The end of a text: Python's `$` also matches before a last newline."""
LARGEST_NUMBER = 1 << 40


def about(text: str) -> Meta:
    """Return what an editor shows of a key."""
    return Meta(description=text)


def given(value: T | UnsetType, default: T) -> T:
    """Return the value of a key, or the default if the table has no such key."""
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
        description="40 lower-case hex digits; a branch or a tag is not pinned",
    ),
]
Number = Annotated[
    float, Meta(ge=0, lt=LARGEST_NUMBER, description="a number from 0 to a trillion")
]


class SourceTable(Struct, frozen=True, forbid_unknown_fields=True):
    """A file, archive or repository that the recipe builds from: one of `file`, `url`, `git`."""

    file: Annotated[str | UnsetType, about("A file or folder, relative to the recipe.")] = UNSET
    url: Annotated[
        str | UnsetType, about("An https://, http:// or file:// address; needs `sha256`.")
    ] = UNSET
    git: Annotated[str | UnsetType, about("A repository; needs `commit`.")] = UNSET
    sha256: Sha256 | UnsetType = UNSET
    commit: Commit | UnsetType = UNSET
    name: Annotated[
        str | UnsetType,
        about("Name below sources/; by default the last part of the path or address."),
    ] = UNSET
    unpack: Annotated[bool, about("Unpack archives.")] = True
    exclude: Annotated[
        Texts | UnsetType, about("gitignore patterns of what is not part of a folder.")
    ] = UNSET
    gitignore: Annotated[
        bool | UnsetType, about("Leave out of a folder what its .gitignore files list.")
    ] = UNSET
    submodules: Annotated[bool | UnsetType, about("Fetch the submodules of a git source.")] = UNSET


class TaskTable(Struct, frozen=True, forbid_unknown_fields=True):
    """A task."""

    script: Annotated[str, about("The script that runs.")] = ""
    script_file: Annotated[str, about("A file to read the script from, relative to this one.")] = ""
    interpreter: Annotated[Interpreter, about("What runs the script.")] = "sh"
    dir: Annotated[str, about("Where the script runs: ${WORKDIR} or a path below it.")] = (
        "${WORKDIR}"
    )
    after: Annotated[Texts, about("Tasks of this recipe whose WORKDIR is taken over.")] = ()
    from_: Annotated[Texts, about("Tasks whose outputs are put into the WORKDIR.")] = msgspec.field(
        name="from", default=()
    )
    needs: Annotated[Texts, about("Tasks whose outputs are put into a sysroot.")] = ()
    outputdir: Annotated[
        str | Texts, about("Folders below WORKDIR that are the task's output.")
    ] = ()
    inputs: Annotated[
        tuple[InputKind, ...], about("Put into the WORKDIR before the script runs.")
    ] = ()
    postprocess: Annotated[str, about("A script that runs where the output is used.")] = ""
    hosttools: Annotated[
        Texts, about("Programs of the host, beside those that every task has.")
    ] = ()
    vardeps: Annotated[Texts, about("Variables that count as used by the script.")] = ()
    vardepsexclude: Annotated[Texts, about("Variables that are left out of the task hash.")] = ()
    network: Annotated[bool, about("Run with a network.")] = False
    deploy: Annotated[bool, about("Deploy the output.")] = False


class PackageTable(Struct, frozen=True, forbid_unknown_fields=True):
    """A package."""

    files: Annotated[Texts, about("gitignore patterns of its files, below image/.")] = ()
    rdepends: Annotated[
        Texts, about("Packages needed at run time, beside those that are detected.")
    ] = ()
    summary: Annotated[str, about("One line; by default the recipe's.")] = ""
    allow_empty: Annotated[bool, about("Make the package without any file.")] = False
    postinst: Annotated[str, about("A shell script that runs when the package was installed.")] = ""
    postinst_depends_native: Annotated[
        Texts, about("Recipes whose -native variants the script needs.")
    ] = ()


class VariantTable(Struct, frozen=True, forbid_unknown_fields=True):
    """Recipe keys for the -native variant alone."""

    name: Annotated[
        str | UnsetType, about("The recipe's name; by default the file's, without .toml.")
    ] = UNSET
    version: Annotated[str | UnsetType, about("The variable PV; required.")] = UNSET
    summary: Annotated[str, about("One line, used in packages.")] = ""
    license: Annotated[str, about("The variable LICENSE.")] = "unknown"
    arch: Annotated[Architecture, about("What the recipe is built for.")] = "target"
    inherit: Annotated[Texts, about("Classes.")] = ()
    classextend: Annotated[Texts, about('["native"]: the recipe also exists as NAME-native.')] = ()
    depends: Annotated[Texts, about("Recipes whose outputs go into the sysroot.")] = ()
    depends_native: Annotated[
        Texts,
        about("Recipes whose -native variants go into the native sysroot."),
    ] = ()
    rdepends: Annotated[
        Texts, about("Recipes that every recipe depending on this one needs too.")
    ] = ()
    provides: Annotated[Texts, about("Other names for this recipe.")] = ()
    patches: Annotated[Texts, about("Files beside the recipe, applied in this order.")] = ()
    build: Annotated[Texts, about("Tasks that are built when only the recipe is named.")] = ()
    export: Annotated[
        Texts, about("Variables in the environment of tasks that use @toolchain.")
    ] = ()
    sources: Annotated[tuple[SourceTable, ...], about("What the recipe builds from.")] = ()
    variables: Annotated[
        dict[VariableName, str], about("Variables: texts that may hold ${NAME}.")
    ] = {}
    functions: Annotated[
        dict[VariableName, str], about("Shell functions: their bodies, by name.")
    ] = {}
    tasks: Annotated[dict[TaskName, TaskTable], about("Tasks, by name.")] = {}
    packages: Annotated[dict[str, PackageTable], about("Packages, by name.")] = {}
    sysroot: Annotated[
        SysrootScope,
        about('"recipe": a task also sees what the tasks before it need.'),
    ] = "task"
    sysroot_owner: Annotated[
        dict[SysrootPath, str],
        about("Path in a sysroot -> the recipe whose file is used on a conflict."),
    ] = {}
    direct: Annotated[
        bool, about("Outputs are used from a folder of their own, never a sysroot.")
    ] = False


class RecipeTable(VariantTable, frozen=True, forbid_unknown_fields=True):
    """A recipe of prov, or a class that recipes inherit."""

    native: Annotated[
        VariantTable | UnsetType, about("Keys for the -native variant alone, joined last.")
    ] = UNSET


class GcTable(Struct, frozen=True, forbid_unknown_fields=True):
    """What `prov gc` keeps."""

    auto: Annotated[bool, about("Let builds collect once a day.")] = False
    builds: Annotated[Number, about("Keep the outputs of the last N builds.")] = 20
    days: Annotated[Number, about("Keep everything newer than N days.")] = 30
    workdirs: Annotated[Number, about("Keep the WORKDIRs of the last N builds.")] = 5
    size: Annotated[
        str | UnsetType, about("Delete the least recently used outputs above a size, as in 50G.")
    ] = UNSET


class RecipeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings for one recipe."""

    variables: Annotated[Tables, about("Variables for this recipe.")] = {}


class ProjectTable(Struct, frozen=True, forbid_unknown_fields=True):
    """A project of prov: prov.toml."""

    recipes: Annotated[Texts, about("Folders with recipes.")] = ("recipes",)
    classes: Annotated[Texts, about("Folders with classes; searched before prov's own.")] = (
        "classes",
    )
    builddir: Annotated[str, about("Folder for WORKDIRs and deployed files.")] = "build"
    machine: Annotated[str, about("The variable MACHINE.")] = "default"
    arch: Annotated[str | UnsetType, about("The variable ARCH; by default the host's.")] = UNSET
    sandbox: Annotated[
        Sandbox, about("Run tasks in bubblewrap: if it works, always, or never.")
    ] = "auto"
    environment: Annotated[Texts, about("Variables of the caller that tasks get.")] = ()
    exclude: Annotated[Texts, about("gitignore patterns of what is not recorded.")] = ()
    xattrs: Annotated[Texts, about("Extended attributes that are recorded.")] = ()
    plan_hooks: Annotated[Texts, about("Programs that see each plan before it runs.")] = ()
    gc: GcTable | UnsetType = UNSET
    provider: Annotated[
        dict[str, str],
        about("Name -> the recipe to use, where several provide that name."),
    ] = {}
    variables: Annotated[Tables, about("Variables for all recipes.")] = {}
    recipe: Annotated[dict[str, RecipeSettings], about("Settings by recipe.")] = {}
