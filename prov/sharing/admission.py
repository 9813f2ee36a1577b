"""Decide whether a fetched output may be used, by the programs that it would run here.

A publication maps inputs to an output, and a publisher can forge this mapping. The text of an
output's postprocess script is part of the inputs. prov computed their hash itself, so a different
script is a forgery. Programs cannot be verified in this way. In a sandbox they do no harm. Without
a sandbox they would run as the user, so prov rejects unsigned outputs with programs.
"""

from __future__ import annotations

import os

from prov.errors import ProvError, SysrootError
from prov.recipes.recipe import Setting
from prov.recipes.variables import expand
from prov.records.ids import OutputId
from prov.records.output import read_pair, read_postprocess
from prov.remote.publication import Published
from prov.remote.settings import Remote, is_own
from prov.store.objects import MODE_DIRECTORY, MODE_EXECUTABLE, Oid
from prov.worktree.attributes import TreeReader

OUTPUT_DIR = "OUTPUT_DIR"


def is_unsigned(remote: Remote) -> bool:
    """Return whether a remote requires no signatures and is not a folder of only this user."""
    return remote.trust == "none" and not is_own(remote)


def objection(reader: TreeReader, remote: Remote, task: Published, *, confined: bool) -> str:
    """Return why a fetched result must not be used, or "" if it may be used.

    `confined`: whether its programs run in a sandbox.
    """
    script = recorded_postprocess(reader, task.task_hash)
    if script is None:
        return "its postprocess script uses a variable that is missing from its inputs"
    if read_postprocess(reader, task.output) != script:
        return "its postprocess script differs from the recipe's"
    if confined or not is_unsigned(remote):
        return ""
    program = first_program(reader, task.output)
    if program:
        return f"the program {program} is not signed and would run without a sandbox"
    return ""


def recorded_postprocess(reader: TreeReader, inputs: Oid) -> bytes | None:
    """Return the postprocess script in a task's inputs, expanded as in the output.

    Returns b"" if there is none, and None if it uses a variable that is missing from the inputs:
    such a variable could have any value.
    """
    entries = {entry.name: entry.oid for entry in reader.tree(inputs)}
    if b"postprocess" not in entries:
        return b""
    variables = {}
    if b"variables" in entries:
        for entry in reader.tree(entries[b"variables"]):
            value = reader.blob(entry.oid).decode("utf-8", "surrogateescape")
            variables[os.fsdecode(entry.name)] = Setting(value, "recorded")
    text = reader.blob(entries[b"postprocess"]).decode("utf-8", "surrogateescape")
    try:
        return expand(text, variables, where="postprocess", keep=(OUTPUT_DIR,)).encode(
            "utf-8", "surrogateescape"
        )
    except ProvError:
        return None


def reject_programs(reader: TreeReader, name: str, output: OutputId) -> None:
    """Raise SysrootError if an unsigned output, which may run without a sandbox, has a program."""
    program = first_program(reader, output)
    if program:
        raise SysrootError(
            f"{name}: unsigned output from a remote contains the program {program}, which may"
            " run without a sandbox",
            hint="install bubblewrap, or build the task on this machine",
        )


def first_program(reader: TreeReader, output: OutputId) -> str:
    """Return the path of the first program in an output, or "".

    A program is an executable file, a shared library, or a postprocess script.
    """
    if read_postprocess(reader, output):
        return "postprocess"
    pending = [(read_pair(reader, output).tree, b"")]
    seen = set[Oid]()
    while pending:
        tree, path = pending.pop()
        if tree in seen:
            continue
        seen.add(tree)
        for entry in reader.tree(tree):
            below = path + entry.name
            if entry.mode == MODE_DIRECTORY:
                pending.append((entry.oid, below + b"/"))
            elif entry.mode == MODE_EXECUTABLE or b".so" in entry.name:
                return os.fsdecode(below)
    return ""
