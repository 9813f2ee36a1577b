"""The disturbed commands, each with a small initial state for its main task."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from prov.query.answer import answer
from prov.store.repository import Store
from prov.wrapped.run import capture_as
from prov.wrapped.step import CommandStep
from tests.cli.story import Project
from tests.faults.sweep import Case, files, git, refs

_TOOLS = r"""
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
int main(int count, char **words)
{
    char *name = strrchr(words[0], '/');
    if (!strcmp(name ? name + 1 : words[0], "mkdir"))
        return mkdir(words[1], 0755) != 0;
    FILE *file = fopen(words[1], "r");
    int each;
    if (count < 2 || !file)
        return 1;
    while ((each = getc(file)) != EOF)
        putchar(each);
    return fflush(stdout) != 0;
}
"""


def make_tools(folder: Path) -> None:
    """Create small host tools for tasks; a distribution's packages would make the store large."""
    folder.mkdir()
    shutil.copy2(os.path.realpath("/bin/sh"), folder / "sh")
    (folder / "tools.c").write_text(_TOOLS)
    subprocess.run(
        [shutil.which("gcc") or "cc", "-o", folder / "cat", folder / "tools.c"], check=True
    )
    shutil.copy2(folder / "cat", folder / "mkdir")


LIBRARY = """\
version = '{version}'
build = ['go', 'give']
[tasks.go]
script = 'mkdir deep; mkdir deep/er; echo {made} > deep/er/made; echo left > left'
[tasks.give]
after = ['go']
outputdir = 'out'
script = 'mkdir out/lib; cat deep/er/made > out/lib/made; {more}'
"""
PROGRAM = """\
version = '1'
build = ['link']
[tasks.link]
needs = ['library:give']
deploy = true
outputdir = 'out'
script = 'mkdir out/bin; cat recipe-sysroot/lib/made > out/bin/program'
"""

# pictures


def recorded(root: Path) -> dict[str, object]:
    """Return the recorded outputs and WORKDIRs, independent of the number of runs."""
    found: dict[str, object] = {}
    for name, (oid, tree) in refs(root / ".prov").items():
        if name.startswith(("refs/prov/output/", "refs/prov/static/")):
            found[name] = oid
        elif name.startswith("refs/prov/workdir/"):
            found[name] = tree
        elif name.startswith("refs/tags/") and not name.startswith(
            ("refs/tags/failed/", "refs/tags/outside/")
        ):
            found[name.rpartition("/")[0]] = tree
    return found


def built(root: Path) -> dict[str, object]:
    """Return the results of a build: records, the list of the last build, WORKDIRs."""
    listed = git(
        root / ".prov", "grep", "--no-color", "-h", "", "refs/heads/builds", "--", "tasks"
    ).stdout
    lines = [" ".join(line.split(" ")[:3]) for line in listed.splitlines()]
    return recorded(root) | {"list": sorted(lines), "files": files(root / "build", "temp")}


def mended(root: Path) -> dict[str, object]:
    """Return the recorded outputs and the deployed files.

    A cut between the first and the last ref of a run can leave the output without the run, before
    prov has reported the run. WORKDIRs are restored when a task needs them.
    """
    found = {
        name: held
        for name, held in recorded(root).items()
        if name.startswith(("refs/prov/output", "refs/prov/s"))
    }
    return found | {"deployed": files(root / "build/deploy")}


def captured(root: Path) -> dict[str, object]:
    """Return the recorded tree of a directory."""
    held = refs(root / ".prov")
    return {
        **{name: tree for name, (_, tree) in held.items() if name.startswith("refs/prov/workdir/")},
        "tags": bool([name for name in held if name.startswith("refs/tags/app/")]),
    }


def unfulfilled(root: Path, said: str) -> str:
    """Return a task that the build reported as run but did not record."""
    held = refs(root / ".prov")
    for recipe, task in re.findall(r"^task \d+ of \d+: (\S+):(\S+) ran ", said, re.MULTILINE):
        if not any(name.startswith(f"refs/prov/output/{recipe}/{task}/") for name in held):
            return f"{recipe}:{task} was reported as done, but is missing"
    return ""


# states


def _project(root: Path) -> Project:
    project = Project(root)
    project.write(
        "prov.toml",
        'recipes = ["recipes"]\nsandbox = "none"\n[variables]\nHOSTTOOLS = "sh cat mkdir"\n',
    )
    project.write("recipes/library.toml", LIBRARY.format(version="1", made="one", more="true"))
    project.write("recipes/program.toml", PROGRAM)
    return project


def _old(root: Path) -> None:
    """Make packs old enough for a sweep."""
    past = time.time() - 7200
    for path in root.glob(".prov/objects/pack/*"):
        os.utime(path, (past, past))


def nothing_recorded(root: Path) -> None:
    """Create a directory without a store."""
    project = Project(root)
    project.write("prov.toml", "")
    project.write("dir/one", "1\n")
    project.write("dir/deep/two", "2\n" * 1000)
    os.symlink("one", root / "dir/three")


def captured_once(root: Path) -> None:
    nothing_recorded(root)
    capture_as(Store.create(root / ".prov"), root / "dir", CommandStep.parse("app:compile"))
    project = Project(root)
    project.write("dir/deep/two", "two\n")
    # incompressible, so that the pack is written in more than one piece
    (root / "dir/large").write_bytes(b"".join(os.urandom(1 << 10) for _ in range(600)))


def growing_builds(root: Path) -> None:
    """Create two builds of commands, of which the older one grows next."""
    nothing_recorded(root)
    store = Store.create(root / ".prov")
    for name, label in {"app:configure": "one", "app:other": "two"}.items():
        capture_as(store, root / "dir", CommandStep.parse(name, build=label))
    (root / "dir/one").write_text("last\n")


def grown(root: Path) -> dict[str, object]:
    """Return the recorded tree of a directory, and the tasks of the build that grew."""
    listed = git(root / ".prov", "show", "refs/prov/label/one:happened").stdout.splitlines()
    return captured(root) | {"listed": sorted(line.partition(" ")[0] for line in listed)}


def many_packs(root: Path) -> None:
    """Create so many packs that the next capture joins them."""
    nothing_recorded(root)
    store = Store.create(root / ".prov")
    for number in range(22):
        (root / "dir/one").write_text(f"{number}\n")
        capture_as(store, root / "dir", CommandStep.parse("app:compile"))
    (root / "dir/one").write_text("last\n")


def built_before(root: Path) -> None:
    """Build a project, then change its library."""
    project = _project(root)
    project.prov("build", "program")
    project.write("recipes/library.toml", LIBRARY.format(version="1", made="two", more="true"))


def not_built(root: Path) -> None:
    """Create a project of which only the host tools were captured."""
    project = _project(root)
    project.write(
        "recipes/other.toml", "version = '1'\nbuild = ['go']\n[tasks.go]\nscript = 'true'\n"
    )
    project.prov("build", "other")


def workdirs_gone(root: Path) -> None:
    """Build a project, delete a WORKDIR, and change the next task, which needs the WORKDIR."""
    project = _project(root)
    project.prov("build", "program")
    subprocess.run(["rm", "-rf", root / "build/work"], check=True)
    project.write(
        "recipes/library.toml",
        LIBRARY.format(version="1", made="one", more="cat left > out/lib/left"),
    )


def collectable(root: Path) -> None:
    """Create builds of which gc deletes all but the last, and WORKDIRs; one build has a label."""
    project = _project(root)
    for number in range(4):
        project.write(
            "recipes/library.toml", LIBRARY.format(version="1", made=str(number), more="true")
        )
        project.prov("build", "program")
        if number == 1:
            project.prov("label", "release")
    _old(root)


def labelled(root: Path) -> None:
    """Create a build whose refs are packed, loose, or both with different values."""
    project = _project(root)
    project.prov("build", "program")
    project.prov("label", "one")
    project.git("pack-refs", "--all")
    project.write("recipes/program.toml", PROGRAM.replace("bin/program", "bin/other"))
    project.prov("build", "program")


def tabulated(root: Path) -> list[tuple[object, ...]]:
    """Return what a query answers about a project's runs and files."""
    question = "select tag, (select count(*) from files) from runs order by 1"
    return [tuple(row) for row in answer(Store.open(root / ".prov"), question).rows]


FIRST_CAPTURE = Case(
    "first capture", nothing_recorded, ("capture", "dir", "--as", "app:compile"), captured
)
CAPTURE = Case("capture", captured_once, ("capture", "dir", "--as", "app:compile"), captured)
GROW = Case(
    "growing build",
    growing_builds,
    ("capture", "dir", "--as", "app:compile", "--build", "one", "--output", "deep"),
    grown,
)
CONSOLIDATE = Case("joining packs", many_packs, ("capture", "dir", "--as", "app:compile"), captured)
FIRST_BUILD = Case(
    "first build", not_built, ("build", "program"), built, recorded, mended, unfulfilled=unfulfilled
)
BUILD = Case(
    "build", built_before, ("build", "program"), built, recorded, mended, unfulfilled=unfulfilled
)
RESTORE = Case(
    "build that puts a WORKDIR back",
    workdirs_gone,
    ("build", "program"),
    built,
    recorded,
    mended,
    unfulfilled=unfulfilled,
)
COLLECT = Case(
    "gc", collectable, ("gc", "--days", "0", "--builds", "1", "--workdirs", "0"), recorded
)
LABEL = Case(
    "ref update",
    labelled,
    ("label", "two"),
    lambda root: recorded(root) | {"label": refs(root / ".prov").get("refs/prov/label/two")},
)
UNLABEL = Case(
    "ref removal",
    labelled,
    ("label", "--remove", "one"),
    lambda root: recorded(root) | {"label": refs(root / ".prov").get("refs/prov/label/one")},
    already="no label is named one",
)
CHECKOUT = Case(
    "checkout",
    labelled,
    ("checkout", "library:give", "there"),
    lambda root: files(root / "there"),
    lambda _root: None,  # the files on disk are a copy and not synced
    lambda _root: None,
    already="is not empty",  # the command was killed after it was done
)
QUERY = Case(
    "query",
    labelled,
    ("query", "select count(*) from files"),
    tabulated,
    lambda _root: None,  # the tables are a copy
    lambda _root: None,
)
CASES = (
    FIRST_CAPTURE,
    CAPTURE,
    GROW,
    CONSOLIDATE,
    FIRST_BUILD,
    BUILD,
    RESTORE,
    COLLECT,
    LABEL,
    UNLABEL,
    CHECKOUT,
    QUERY,
)
