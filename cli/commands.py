"""The commands: a table of their help lines, and their loading.

The command `prov NAME` is the function `command` of the module `cli/NAME.py`; a group such as
`prov remote` is its `group`. A command's module is imported when that command is invoked, completed
or asked for its help. `prov --help` and the completion of names read the table alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "init": "Make a store, and a prov.toml where there is none.",
    "build": "Build targets: run what must run, restore what is recorded, commit every task.",
    "plan": "Print what a build would do, and why.",
    "status": "Print, for every recipe, whether what is recorded is up to date.",
    "log": (
        "List recorded runs, newest first, with the tags to give to git; of a path, the "
        "builds that changed it."
    ),
    "show": "Show a run: inputs, output, environment, times, log.",
    "diff": (
        "Show what a task changed, or what is different between two runs, outputs, sysroots "
        "or builds."
    ),
    "checkout": "Put any recorded tree on disk.",
    "sysroot": "Show what is in a task's sysroots, and why.",
    "compose": (
        "Merge trees into one directory, by hardlinks; with other trees later, update it in place."
    ),
    "check": "Tell which files of a recipe's outputs name the place where they were made.",
    "capture": "Commit and tag a directory as it is, with no recipe.",
    "run": "Run any command in a directory and commit what it changed.",
    "var": "Tell a variable's value and where it came from.",
    "gc": "Drop what is old: WORKDIRs first, then outputs; and free their room.",
    "du": "Show where the bytes of a store are: what is each recipe's own, and what is shared.",
    "forget": "Remove runs or a text from the store and remotes.",
    "fsck": (
        "Tell what is wrong with a store, what depends on it, and what to do about it; exit 1 "
        "if anything is."
    ),
    "why": (
        "Tell why a task would run now, or why it ran: what is different, down to the first cause."
    ),
    "blame": (
        "Tell which tasks made a file, of which sources, and since which build its content is "
        "what it is."
    ),
    "shell": (
        "Put a task's WORKDIR, sysroots and environment back as they were, and open a shell "
        "in them."
    ),
    "rerun": "Run a recorded task again, just as it was, and tell whether it gives the same.",
    "reproduce": (
        "Build from recorded inputs again, in another directory and file order, and tell "
        "which outputs are different."
    ),
    "report": (
        "Write a build as one HTML page that needs no network: timeline, graph, causes, and a "
        "page for each task."
    ),
    "attest": (
        "Attest what a task made of what: an in-toto statement with SLSA's provenance, signed "
        "in a DSSE envelope."
    ),
    "graph": "Draw a build's graph of tasks, coloured by what happened, as SVG or for Graphviz.",
    "push": "Publish the last build's results to remotes.",
    "export": "Write results as plain files, for any web server.",
    "pull": (
        "Fetch what remotes have of the recipes as they are now: all tasks' outputs, for a "
        "build without a network."
    ),
    "reproducible": (
        "List tasks that gave different outputs for the same inputs, here or on machines that "
        "share a remote."
    ),
    "builds": "List builds, newest first: when, result, what ran, labels, targets.",
    "label": "Give a build a name, which keeps it, too.",
    "pin": "Keep a build for good: what it is made of is never collected.",
    "bisect": (
        "Find the change that broke something, over recorded builds; nothing is built that "
        "has been built."
    ),
    "remote": (
        "Share results through git remotes: folders, ssh, http, git servers; or read a static "
        "web server."
    ),
    "bitbake": "Attach to a build of OpenEmbedded's: a layer that records every task of it.",
}
"""Each command with the first sentence of its help, in the order of `prov --help`."""

PASSED_ON = {"run"}
"""Commands whose arguments end with another program's: its options are not prov's."""


class LazyGroup(TyperGroup):
    """A group that lists its commands from the table and loads the one that is invoked."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, line in COMMANDS.items():
            self.add_command(TyperCommand(name, help=line))

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
        module = import_module(f".{name}", __package__)
    if hasattr(module, "group"):
        return typer.main.get_command(module.group)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    settings = {"allow_interspersed_args": name not in PASSED_ON}
    app.command(name, context_settings=settings)(module.command)
    return typer.main.get_command(app)


class _LibraryFinder:
    """Finds prov's own modules, and defers the execution of each until one of its names is used.

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
    """Import modules of the library without executing them yet, for as long as the context lasts.

    Half of the library takes 0.2 s to import, which `prov build --help` need not wait for, and
    `prov log` uses little of it. Modules of the command line therefore import the library's modules
    (`from prov.history import names`), not names out of them, which would execute them.
    """
    sys.meta_path.insert(0, _LibraryFinder)
    try:
        yield
    finally:
        sys.meta_path.remove(_LibraryFinder)
