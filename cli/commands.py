"""The table of commands, with their summaries, and the loading of a command.

The command `prov NAME` is the function `command` of the module `cli/NAME.py` (`rev-parse` is in
`cli/rev_parse.py`); a group such as `prov remote` is its `group`. prov imports a command's module
only to run the command, complete its options, or print its help. `prov --help` and the completion
of command names read only the table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from typing import Any

import typer

from .global_options import add_global_options
from .help import Command, Group

GROUPS = {
    "Build": {
        "init": "Create a store, and prov.toml if it is missing",
        "build": "Build targets and record every task",
        "plan": "Show which tasks a build would run, and why",
        "status": "Show which recipes are up to date",
        "run": "Run a command and record the files it changes",
        "capture": "Record a directory as it is",
        "farm": "Manage a farm: machines that run tasks of builds",
        "worker": "Run tasks of other machines' builds",
    },
    "Look": {
        "log": "List recorded runs, or the builds that changed a file",
        "builds": "List recorded builds",
        "show": "Show a run's inputs, output, environment and log",
        "diff": "Show what a task changed, or compare runs or builds",
        "why": "Explain why a task ran, or would run",
        "blame": "Show which tasks and sources made a file",
        "sysroot": "List the packages in a task's sysroots",
        "reads": "List the files that a recorded task read",
        "var": "Show a variable's value and where it is set",
        "buildpaths": "List output files that embed build paths",
        "graph": "Draw a build's task graph as SVG or for Graphviz",
        "advise": "List unused and undeclared dependencies",
        "query": "Query builds, runs, inputs, outputs and files in SQL",
        "report": "Write a build as one self-contained HTML page",
        "rev-parse": "Print the id of a run, an output or a build",
    },
    "Go back and compare": {
        "checkout": "Write a recorded tree to a directory",
        "compose": "Merge trees into one directory by hardlink",
        "shell": "Open a shell in a recorded task's WORKDIR",
        "rerun": "Run a recorded task again and compare the result",
        "reproduce": "Check that recorded tasks build reproducibly",
        "bisect": "Find the change that broke something",
    },
    "Share": {
        "remote": "Manage the remotes that a store shares with",
        "push": "Publish the last build's results to remotes",
        "pull": "Fetch the current recipes' results from remotes",
        "export": "Write results as plain files for a web server",
        "attest": "Write a signed provenance statement for a task",
        "sbom": "Write a software bill of materials of a build",
    },
    "Keep in order": {
        "label": "Name a build, and keep it",
        "pin": "Keep a build permanently",
        "gc": "Delete old WORKDIRs and outputs, and free space",
        "forget": "Remove runs or a text from the store and remotes",
        "du": "Show what takes up space in a store",
        "fsck": "Check a store for damage, and repair it",
        "doctor": "Check this machine's setup",
    },
    "Attach": {
        "bitbake": "Record BitBake builds through a layer",
        "buildroot": "Record Buildroot builds, each package step as a run",
    },
}
"""Title -> command -> the first sentence of its help, in the order of `prov --help`."""

COMMANDS = {name: line for group in GROUPS.values() for name, line in group.items()}
"""Each command with the first sentence of its help."""

PASSED_ON = {"run"}
"""Commands whose arguments end with the command line of another program, with its own options."""


class LazyGroup(Group):
    """A group that lists its commands from the table and loads the invoked one."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, line in COMMANDS.items():
            self.add_command(Command(name, help=line))

    def sections(self) -> Mapping[str, Mapping[str, str]]:
        return GROUPS

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the loaded command, and the rest of the arguments.

        Name and command are None if completion asks about an unknown command.
        """
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None:
            command = load_command(name)
        return name, command, rest


def load_command(name: str) -> Any:
    """Import a command's module; return the command, or the group, with its options."""
    with lazy_library():
        module = import_module(f".{name.replace('-', '_')}", __package__)
    if hasattr(module, "group"):
        app = module.group
    else:
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        settings = {"allow_interspersed_args": name not in PASSED_ON}
        app.command(name, cls=Command, context_settings=settings)(module.command)
    command = typer.main.get_command(app)
    add_global_options(command)
    return command


class _LibraryFinder:
    """Finds prov's modules, and defers the execution of each until one of its names is used.

    Packages are executed at once: their `__init__` is empty.
    """

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        if not name.startswith("prov."):
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None and spec.submodule_search_locations is None:
            spec.loader = LazyLoader(spec.loader)
        return spec


@contextmanager
def lazy_library() -> Iterator[None]:
    """Defer the execution of library modules imported inside this context.

    Executing half of the library's modules takes 0.2 s; `prov build --help` needs none of them, and
    `prov log` few. Modules of the command line therefore import the library's modules
    (`from prov.history import names`), not names from them, which would execute the modules.
    """
    sys.meta_path.insert(0, _LibraryFinder)
    try:
        yield
    finally:
        sys.meta_path.remove(_LibraryFinder)
