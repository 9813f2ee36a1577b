"""Restore the WORKDIR of a recorded BitBake task, to run a command or a shell in it.

Scripts and build systems contain WORKDIR's absolute path. The WORKDIR is therefore restored to a
scratch copy, mounted at that path for the command alone. Sysroots are those on disk now,
since a record contains only references to them.

The record determines the environment, and the WORKDIR contains programs. Both may come from an
attacker. With bubblewrap, the command can read the machine, but write only to the scratch copy and
an empty /tmp. It has no network, and no access to sockets in /run, through which it could make
other processes act for it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from prov.bitbake.capture import HASH_FACT
from prov.errors import FORGET_RUN, StoreError
from prov.records.entries import LOG, SCRIPT
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.replay.mounted import check_sandbox, mounts, recorded_path
from prov.replay.scene import Scene
from prov.replay.scratch import scratch_folder
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.worktree.attributes import Listing, map_directories, put_at
from prov.worktree.checkout import checkout

SYSROOTS = ("recipe-sysroot", "recipe-sysroot-native")
PASSED = ("TERM", "HOME", "USER", "PATH")
"""User variables passed to a command, unless the task's script exports them."""
_EXPORT = re.compile(r'^export ([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"$', re.MULTILINE | re.DOTALL)
_TASK = re.compile(r"do_[\w.+-]+", re.ASCII)
_OURS = (b"temp", *map(os.fsencode, SYSROOTS))
"""Names at the top of a WORKDIR created here. Records do not contain them."""
_CHANGED_INTO = re.compile(r"^cd (.+)$", re.MULTILINE)


def is_bitbakes(store: Store, commit: Oid) -> bool:
    """Return whether a run is of a BitBake task."""
    return HASH_FACT in Records(store).facts(commit)


@contextlib.contextmanager
def put_back(
    store: Store,
    commit: Oid,
    mounter: str | None,
    environment: Mapping[str, str],
    *,
    before: bool,
    on_host: bool,
) -> Iterator[Scene]:
    """Yield a task's WORKDIR in its state after the task, or `before` it; delete it at the end.

    `mounter` is the path of bubblewrap; without it the WORKDIR is at another path. `environment` is
    the user's. `on_host` allows the command to run without a sandbox. Raises StoreError for an
    invalid record, and if there is neither bubblewrap nor `on_host`.
    """
    records = Records(store)
    facts = records.facts(commit)
    at, task = recorded_path(facts), TaskKey(facts.get("task", "")).task
    if not _TASK.fullmatch(task):
        raise StoreError(
            f"invalid record: {task[:200]!r} is not the name of a BitBake task", hint=FORGET_RUN
        )
    check_sandbox(task, mounter, on_host=on_host)
    with scratch_folder(store) as folder:
        workdir = folder / "workdir"
        with store.objects.writer(memory=True) as writer:
            pair = records.workdir(store.objects.commit(commit).parents[0] if before else commit)
            for name in _OURS:  # a symlink would redirect the files written below
                pair = put_at(writer, pair, name, None)
            checkout(
                writer,
                workdir,
                map_directories(writer, pair, _without_devices, writer, mtimes=True),
            )
        script = records.text(commit, SCRIPT).decode("utf-8", "surrogateescape")
        (workdir / "temp").mkdir()
        if script:
            run = workdir / "temp" / f"run.{task}"
            run.write_text(script, "utf-8", "surrogateescape")
            run.chmod(0o755)
        if not before:
            (workdir / "temp" / f"log.{task}").write_bytes(records.text(commit, LOG))
        user = {name: environment[name] for name in PASSED if name in environment}
        yield _scene(workdir, at, script, mounter, user)


def _scene(
    workdir: Path, at: str, script: str, mounter: str | None, user: Mapping[str, str]
) -> Scene:
    environment = {**user, **_exported(script)}
    directory = _directory(workdir, at, script)
    if mounter is None:
        note = f"without bubblewrap, WORKDIR is {workdir}: tools may still refer to {at}"
        inside = Path(directory.replace(at, str(workdir), 1))
        return Scene(inside, environment, _as_it_is, _shell, [note])
    through = tuple(name for name in SYSROOTS if Path(at, name).is_dir())
    for name in through:
        (workdir / name).mkdir(exist_ok=True)
    notes = []
    if not through:
        notes.append(
            "the sysroots do not exist: run do_prepare_recipe_sysroot of the recipe to create them"
        )
    mount = [mounter, *mounts(workdir, at, through), "--chdir", directory]
    return Scene(workdir, environment, lambda command: [*mount, *command], _shell, notes)


def _as_it_is(command: Sequence[str]) -> Sequence[str]:
    return command


def _shell() -> list[str]:
    return ["sh", "-i"]


def _directory(workdir: Path, at: str, script: str) -> str:
    """Return the folder in which a shell script runs its task: WORKDIR, or one below it."""
    for text in reversed(_CHANGED_INTO.findall(script)):
        with contextlib.suppress(ValueError):
            path = shlex.split(text)[0]
            is_below = path.startswith(f"{at}/") and not {"..", "\0"} & {*path.split("/"), *path}
            if is_below and (workdir / path.removeprefix(f"{at}/")).is_dir():
                return path
    return at


def _exported(script: str) -> dict[str, str]:
    """Return the variables that a BitBake shell script exports."""
    unescaped = (
        (name, re.sub(r"\\(\n|.)", _plain, value)) for name, value in _EXPORT.findall(script)
    )
    return {name: value for name, value in unescaped if "\0" not in value}


def _plain(match: re.Match[str]) -> str:
    return "\n" if match[1] == "\n" else match[1]


def _without_devices(listing: Listing) -> Listing:
    """Return a listing without devices, which only root can create."""
    return {name: node for name, node in listing.items() if not node.is_device}
