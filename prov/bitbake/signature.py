"""Convert BitBake's signature data to an inputs tree, which contains exactly what BitBake hashes.

    task                 name of the task
    script               text of the task's function
    variables/NAME       unexpanded values of the variables and functions that the task depends on
    unset                names of those without a value: setting one changes the hash
    sources/…            checksums of files, by name
    taint                taint, which forces the task to run
    after/TASK           unihash of a task of the same recipe
    needs/RECIPE:TASK    unihash of a task of another recipe

Dependencies are unihashes because BitBake computes its task hashes from them.
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
"""Kinds of checksums, by length in hexadecimal digits."""
LIMIT = 16 << 20
"""Maximum size of signature data, in bytes, also after decompression.

The data of large images has a few megabytes.
"""
DEEPEST = 200
"""Maximum number of folders in a file's path."""
UPDATE = "update prov, which may be too old for this BitBake"
"""Hint for data in a form that this version of prov does not know."""
_SHOWN = 200
"""Maximum number of characters of an invalid value in an error."""
_MAGIC = b"\x28\xb5\x2f\xfd"
_TID = re.compile(r"(?:mc:(?P<mc>[^:]*):)?(?P<pn>[^:/]+):(?P<task>do_[^:/]+)")


def recipe_name(mc: str, pn: str) -> str:
    """Return the name of a recipe in the store, with its multiconfig if any: `mc.musl.zlib`."""
    return f"{MULTICONFIG}.{mc}.{pn}" if mc and mc != "default" else pn


def split_name(recipe: str) -> tuple[str, str]:
    """Return the multiconfig and the recipe of a name made by `recipe_name`."""
    if not recipe.startswith(f"{MULTICONFIG}."):
        return "", recipe
    mc, _, pn = recipe.removeprefix(f"{MULTICONFIG}.").partition(".")
    return mc, pn


def key_of(text: str) -> TaskKey:
    """Return the key for `[mc:NAME:]RECIPE:TASK`, the form of dependencies in signature data.

    Raises BitBakeError.
    """
    match = _TID.fullmatch(text)
    if match is None:
        raise BitBakeError(
            f"invalid task name {text[:_SHOWN]!r}: expected [mc:NAME:]RECIPE:do_TASK", hint=UPDATE
        )
    return TaskKey.of(recipe_name(match["mc"] or "", match["pn"]), match["task"])


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs of a task's hash."""

    task: str
    values: Mapping[str, str | None]
    """Values of the task and of the variables and functions it depends on; None if unset."""
    checksums: Sequence[tuple[str, str | None]]
    dependencies: Mapping[str, str]
    """`[mc:NAME:]RECIPE:TASK` -> unihash."""
    taint: str = ""
    task_hash: str = ""


def read_signature(path: Path) -> Signature:
    """Return the signature in a `sigdata` or `siginfo` file. Raises BitBakeError."""
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
            f"{path}: signature data is larger than {size_text(LIMIT)}",
            hint="shorten the largest variable that the task depends on",
        )
    try:
        return decode_signature(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BitBakeError(
            f"{path}: invalid signature data: {repr(error)[:_SHOWN]}",
            hint=UPDATE,
        ) from error


def _decompressed(stream: BinaryIO, path: Path) -> bytes:
    """Return the content of a file compressed by zstd, at most LIMIT + 1 bytes."""
    program = shutil.which("zstd")
    if program is None:
        raise BitBakeError(
            f"{path}: cannot decompress signature data: zstd is not in PATH",
            hint="install zstd, which BitBake also needs",
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
            f"{path}: cannot decompress signature data: {' '.join(message.split())}",
            hint="run the task again to replace the file",
        )
    return data


def decode_signature(data: Mapping[str, Any]) -> Signature:
    """Return the signature in decoded JSON. Bookkeeping data that is not hashed is left out.

    Raises KeyError, TypeError, ValueError or AttributeError for invalid data.
    """
    task = data["task"]
    _check_texts([task, data.get("taint", ""), *_plain(data["taskdeps"])])
    _check_texts([text for pair in data.get("runtaskhashes", {}).items() for text in pair])
    _check_texts(
        [text for pair in data.get("file_checksum_values", []) for text in pair if text is not None]
    )
    if any(name.count("/") > DEEPEST for name, _ in data.get("file_checksum_values", [])):
        raise ValueError(f"the path of a file has more than {DEEPEST} folders")
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
    """Raise TypeError or ValueError if a value is not text, or can't be encoded.

    NUL bytes and surrogates that stand for no byte can't be encoded.
    """
    for text in texts:
        if not isinstance(text, str) or "\0" in text:
            raise TypeError(text)
        _encoded(text)


def _plain(value: Any) -> list[str]:
    """Return the values of a JSON list, or of an object that BitBake writes for a set."""
    return value["_set_object"] if isinstance(value, dict) else list(value)


def write_inputs(
    writer: TreeWriter, recipe: str, signature: Signature, texts: dict[str, Oid] | None = None
) -> Oid:
    """Write the inputs tree and return its id, the task hash.

    `texts` maps texts to their blobs, which are not written again. It gets the blobs written now.
    """
    written = {} if texts is None else texts

    def text(name: str, value: str) -> Entry:
        oid = written.get(value)
        if oid is None:
            oid = written[value] = writer.add("blob", _encoded(value))
        return Entry(_name(name), MODE_FILE, oid)

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
    """Return a variable's name with `%` and `/` escaped, for use in a tree."""
    return name.replace("%", "%25").replace("/", "%2F")


def _name(text: str) -> bytes:
    """Return a name that git accepts in a tree.

    The empty name, `.` and `..` get the prefix `%`, like all names that git rejects.
    """
    name = _encoded(text)
    return b"%" + name if name in (b"", b".", b"..") else escape_name(name)


def _sources(writer: TreeWriter, checksums: Sequence[tuple[str, str | None]]) -> list[Entry]:
    """Return the entries of files by name. Several files may have one name.

    BitBake hashes the path of a `./FOLDER/NAME` but not a plain name. Such a path is stored in
    folders, without its dot. `./NAME` keeps the dot as a folder, to be distinct from `NAME`.
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
