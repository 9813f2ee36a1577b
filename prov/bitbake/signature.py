"""BitBake's signature data as an inputs tree: what BitBake hashes and nothing else, so that two
hashes can be compared.

    task                 what the task is called
    script               the task's own function
    variables/NAME       values of the variables and functions that the task reaches, unexpanded
    unset                names of those that have no value: one that comes up changes the hash
    sources/…            checksums of files, by their names
    taint                what forced the task to run
    after/TASK           unihash of a task of the same recipe
    needs/RECIPE:TASK    unihash of another recipe's

The edges stand at unihashes, since that is what BitBake's own hash is made of.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from prov.errors import BitBakeError
from prov.records.keys import TaskKey
from prov.store.objects import MODE_DIRECTORY, MODE_FILE, Entry, Oid, escape_name
from prov.text import size_text
from prov.worktree.attributes import TreeWriter

MULTICONFIG = "mc"
KINDS = {32: "md5", 64: "sha256"}
"""Of checksums, by their length in hexadecimal digits."""
LIMIT = 16 << 20
"""Bytes of signature data that are read, compressed or not; those of large images have some
megabytes.
"""
DEEPEST = 200
"""Folders that a file's path may have."""
_SHOWN = 200
"""Characters of what is wrong that an error shows."""
_MAGIC = b"\x28\xb5\x2f\xfd"
_TID = re.compile(r"(?:mc:(?P<mc>[^:]*):)?(?P<pn>[^:/]+):(?P<task>do_[^:/]+)")


def recipe_name(mc: str, pn: str) -> str:
    """Return what a recipe is called in the store: a multiconfig's has that in front, as in
    `mc.musl.zlib`.
    """
    return f"{MULTICONFIG}.{mc}.{pn}" if mc and mc != "default" else pn


def split_name(recipe: str) -> tuple[str, str]:
    """Return multiconfig and recipe of what `recipe_name` put together."""
    if not recipe.startswith(f"{MULTICONFIG}."):
        return "", recipe
    mc, _, pn = recipe.removeprefix(f"{MULTICONFIG}.").partition(".")
    return mc, pn


def key_of(text: str) -> TaskKey:
    """Return the key that `[mc:NAME:]RECIPE:TASK` stands for, as BitBake's signature data names
    dependencies.
    """
    match = _TID.fullmatch(text)
    if match is None:
        raise BitBakeError(
            f"{text[:_SHOWN]!r} names no task", hint="is this BitBake newer than this prov?"
        )
    return TaskKey.of(recipe_name(match["mc"] or "", match["pn"]), match["task"])


@dataclass(frozen=True, slots=True)
class Signature:
    """What goes into a task's hash."""

    task: str
    values: Mapping[str, str | None]
    """Of the task itself and of all that it reaches; None for what is not set."""
    checksums: Sequence[tuple[str, str | None]]
    dependencies: Mapping[str, str]
    """`[mc:NAME:]RECIPE:TASK` -> unihash."""
    taint: str = ""
    task_hash: str = ""


def read_signature(path: Path) -> Signature:
    """Return what a file of signature data (`sigdata`, `siginfo`) says. Raises BitBakeError."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(LIMIT + 1)
            if data.startswith(_MAGIC):
                stream.seek(0)
                data = _decompressed(stream, path)
    except OSError as error:
        raise BitBakeError(f"{path}: {error.strerror}") from error
    if len(data) > LIMIT:
        raise BitBakeError(
            f"{path}: signature data larger than {size_text(LIMIT)}",
            hint="a variable of the task holds too long a text",
        )
    try:
        return decode_signature(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BitBakeError(
            f"{path} is not what signature data should be: {repr(error)[:_SHOWN]}",
            hint="is this BitBake newer than this prov?",
        ) from error


def _decompressed(stream: BinaryIO, path: Path) -> bytes:
    """Return what a file holds that zstd compressed, at most one byte more than LIMIT."""
    program = shutil.which("zstd")
    if program is None:
        raise BitBakeError(
            f"{path} is compressed, and there is no zstd",
            hint="BitBake needs it, too: install zstd",
        )
    with subprocess.Popen(
        [program, "-dcq"], stdin=stream, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        data = process.stdout.read(LIMIT + 1)
        if len(data) > LIMIT:
            process.kill()
            return data
        message = process.stderr.read(_SHOWN).decode(errors="replace")
    if process.returncode:
        raise BitBakeError(
            f"{path}: zstd says {' '.join(message.split())}",
            hint="the file is damaged: build the task again",
        )
    return data


def decode_signature(data: Mapping[str, Any]) -> Signature:
    """Return what the JSON of signature data says; what only the hash's own bookkeeping needs is
    left out.
    """
    task = data["task"]
    _check_texts([task, data.get("taint", ""), *_plain(data["taskdeps"])])
    _check_texts([text for pair in data.get("runtaskhashes", {}).items() for text in pair])
    _check_texts(
        [text for pair in data.get("file_checksum_values", []) for text in pair if text is not None]
    )
    if any(name.count("/") > DEEPEST for name, _ in data.get("file_checksum_values", [])):
        raise ValueError("a file is in too many folders")
    values = {name: data["varvals"].get(name) for name in {task, *_plain(data["taskdeps"])}}
    return Signature(
        task=task,
        values={name: value if value is None else _text(value) for name, value in values.items()},
        checksums=[(name, checksum) for name, checksum in data.get("file_checksum_values", [])],
        dependencies=dict(data.get("runtaskhashes", {})),
        taint=data.get("taint", ""),
        task_hash=data.get("taskhash", ""),
    )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(value: object) -> str:
    text = str(value)
    _encoded(text)
    return text


def _check_texts(texts: Sequence[str]) -> None:
    """Raise TypeError or ValueError if there is anything among these that is no text, or half a
    character.
    """
    for text in texts:
        if not isinstance(text, str) or "\0" in text:
            raise TypeError(text)
        _encoded(text)


def _plain(value: Any) -> list[str]:
    """Return a list that JSON may hold as one or, marked, as a set."""
    return value["_set_object"] if isinstance(value, dict) else list(value)


def write_inputs(writer: TreeWriter, recipe: str, signature: Signature) -> Oid:
    """Write the inputs tree and return its id, the task hash."""

    def text(name: str, value: str) -> Entry:
        return Entry(_name(name), MODE_FILE, writer.add("blob", _encoded(value)))

    def folder(name: bytes, entries: Sequence[Entry]) -> list[Entry]:
        return [Entry(name, MODE_DIRECTORY, writer.add_tree(list(entries)))] if entries else []

    task = signature.task
    entries = [text("task", f"task {recipe}:{task}\n")]
    script = signature.values.get(task)
    if script is not None:
        entries.append(text("script", script))
    reached = {name: value for name, value in signature.values.items() if name != task}
    entries += folder(
        b"variables",
        [text(_flat(name), value) for name, value in reached.items() if value is not None],
    )
    unset = sorted(name for name, value in reached.items() if value is None)
    if unset:
        entries.append(text("unset", "".join(f"{name}\n" for name in unset)))
    entries += folder(b"sources", _sources(writer, signature.checksums))
    if signature.taint:
        entries.append(text("taint", signature.taint + "\n"))
    edges: dict[bytes, list[Entry]] = {}
    for name, unihash in signature.dependencies.items():
        key = key_of(name)
        kind, label = (b"after", key.task) if key.recipe == recipe else (b"needs", key)
        edges.setdefault(kind, []).append(text(label, unihash + "\n"))
    for kind, each in edges.items():
        entries += folder(kind, each)
    return writer.add_tree(entries)


def _flat(name: str) -> str:
    """Return a variable's name as one of a tree."""
    return name.replace("%", "%25").replace("/", "%2F")


def _name(text: str) -> bytes:
    """Return a name as a tree has it.

    `.`, `..` and the empty one get a `%`, as all that git does not take.
    """
    name = _encoded(text)
    return b"%" + name if name in (b"", b".", b"..") else escape_name(name)


def _sources(writer: TreeWriter, checksums: Sequence[tuple[str, str | None]]) -> list[Entry]:
    """Return the entries of files by name: of one name there may be several. A `./path` is in
    folders of its own.

    Such a path counts for the hash, a plain name does not: the dot stays where nothing else tells
    them apart.
    """
    files: dict[str, list[str]] = {}
    folders: dict[str, list[tuple[str, str | None]]] = {}
    for name, checksum in checksums:
        below = name.removeprefix("./")
        first, slash, rest = (below if "/" in below else name).partition("/")
        if slash:
            folders.setdefault(first, []).append((rest, checksum))
        else:
            files.setdefault(first, []).append(checksum or "")
    entries = []
    for name, sums in files.items():
        data = "".join(f"{KINDS.get(len(each), 'checksum')} {each}\n" for each in sums).encode()
        free = name
        while free in folders or (free != name and free in files):
            free += "+"
        entries.append(Entry(_name(free), MODE_FILE, writer.add("blob", data)))
    for name, each in folders.items():
        entries.append(Entry(_name(name), MODE_DIRECTORY, writer.add_tree(_sources(writer, each))))
    return entries
