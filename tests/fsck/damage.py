"""Damage a store in many ways from a seed, and check it after a repair."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from prov.fsck.reach import Reach
from prov.store.objects import Oid
from prov.store.rawrefs import read_refs
from prov.store.repository import Store


def git_says(path: Path) -> str:
    """Return the problems reported by `git fsck --strict`."""
    command = [
        "git",
        f"--git-dir={path}",
        "fsck",
        "--strict",
        "--full",
        "--no-dangling",
        "--no-progress",
    ]
    done = subprocess.run(command, capture_output=True, check=False)
    words = (done.stdout + done.stderr).decode("utf-8", "replace")
    said = [line for line in words.splitlines() if not line.startswith("notice: ")]
    return "\n".join(said) + (f"exit {done.returncode}" if done.returncode else "")


def contents(path: Path) -> dict[str, Oid]:
    return read_refs(path).names


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Flip one bit of a file."""
    path.chmod(0o644)
    with open(path, "r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([byte ^ 1 << bit]))


def cut(path: Path, size: int) -> None:
    path.chmod(0o644)
    with open(path, "r+b") as stream:
        stream.truncate(size)


def wipe(path: Path, at: int, size: int) -> None:
    """Fill a part of a file with zeros, as a failing disk does."""
    path.chmod(0o644)
    with open(path, "r+b") as stream:
        stream.seek(at)
        stream.write(bytes(min(size, path.stat().st_size - at)))


def damage(path: Path, chance: random.Random) -> str:
    """Damage a store in one way, and return a description."""
    packs, indexes = (sorted((path / "objects/pack").glob(f"*.{end}")) for end in ("pack", "idx"))
    loose = sorted(each for each in (path / "refs").rglob("*") if each.is_file())
    refs = [each for each in [path / "packed-refs", *loose] if each.exists()]
    groups = [group for group in (packs, indexes, refs) if group]
    file = chance.choice(chance.choice(groups))
    size = file.stat().st_size
    how = chance.choice(("flip", "flip", "flip", "cut", "wipe", "remove"))
    if how == "flip":
        at, bit = chance.randrange(size), chance.randrange(8)
        flip(file, at, bit)
        return f"bit {bit} of byte {at} of {file.name}"
    if how == "cut":
        at = chance.randrange(size)
        cut(file, at)
        return f"{file.name} cut at {at} of {size}"
    if how == "wipe":
        at = chance.randrange(size)
        wipe(file, at, chance.choice((1, 16, 512, 4096)))
        return f"zeros at {at} of {file.name}"
    file.unlink()
    return f"{file.name} removed"


def whole_refs(store: Store) -> dict[str, Oid]:
    """Return the refs with objects that all exist and match their ids.

    The objects must be undamaged.
    """
    refs = contents(store.path)
    reach = Reach.of(store.objects)
    broken = reach.look(refs)
    return {name: oid for name, oid in refs.items() if name not in broken}
