"""What an output from elsewhere may have besides files: what it would run here.

A publication states which output belongs to which inputs, and its publisher may lie. What an
output's own script does is known from the inputs, whose hash the asker computed, so that another
text is a forgery. Programs can't be judged like that. They do no harm in a sandbox; without one
they would run as the user, so that an unsigned output that has any is not used then.
"""

from __future__ import annotations

import os

from prov.errors import ProvError
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
    """Return whether anybody may have made what a remote has: it needs no signature, and is no
    folder of the user's.
    """
    return remote.trust == "none" and not is_own(remote)


def objection(reader: TreeReader, remote: Remote, task: Published, *, confined: bool) -> str:
    """Return why a result that came from a remote must not be used, empty if it may be.

    `confined`: what it brings runs in a sandbox.
    """
    script = recorded_postprocess(reader, task.task_hash)
    if script is None:
        return "has a postprocess script with a variable that its inputs leave out"
    if read_postprocess(reader, task.output) != script:
        return "has a postprocess script that its recipe does not have"
    if confined or not is_unsigned(remote):
        return ""
    program = first_program(reader, task.output)
    if program:
        return f"has the program {program}, is not signed, and would run without a sandbox"
    return ""


def recorded_postprocess(reader: TreeReader, inputs: Oid) -> bytes | None:
    """Return the postprocess script that belongs to a task's inputs, as it goes with the output.

    None for one that uses a variable which is not among the inputs, and so may have any value.
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


def first_program(reader: TreeReader, output: OutputId) -> str:
    """Return the path of something in an output that runs, or is loaded into what runs; empty if
    there is nothing.

    That is a file with a permission to execute, a shared library, or a postprocess script.
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
