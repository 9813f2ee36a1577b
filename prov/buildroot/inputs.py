"""What a step's result depends on: options, the package's own files, and other packages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from prov.buildroot.sysroots import OUTPUTS
from prov.records.build_list import LOOK_BACK, BuildList, walk_builds
from prov.records.ids import OutputId
from prov.records.keys import TaskKey
from prov.records.labels import labelled_build
from prov.records.record import read_run_record
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.wrapped.builds import PreviousStep

CONFIG = "config"
"""The input with the lines of .config that apply to a package."""
_OPTION = re.compile(r"BR2_(?:(PACKAGE_)(?:HOST_)?(\w+)|\w+)=")
_NOISE = re.compile(r"BR2_(?:EXTERNAL_\w+_VERSION|DEFCONFIG|JLEVEL)=")
"""Options that change no package: the state of the git repository, the number of jobs."""


def package_options(config: str, package: str) -> str:
    """Return the lines of a .config that apply to a package.

    These are its own options and all that belong to no package, such as the architecture. Options
    that are not set are left out.
    """
    own = re.sub(r"\W", "_", package.removeprefix("host-").upper())
    return "".join(
        f"{line}\n"
        for line in config.splitlines()
        if (option := _OPTION.match(line)) is not None
        and not _NOISE.match(line)
        and (option[1] is None or option[2] == own or option[2].startswith(f"{own}_"))
    )


def step_inputs(
    key: TaskKey, folder: Path, version: str, config: Path
) -> dict[str, bytes | Mapping[str, bytes]]:
    """Return a step's inputs besides its directory: `config`, `sources`, and `patches`.

    `folder` contains the package's makefile; patches may be in its subfolder for the `version`.
    Only the step `patch` has patches.
    """
    text = _content(config).decode("utf-8", "surrogateescape")
    inputs: dict[str, bytes | Mapping[str, bytes]] = {
        CONFIG: package_options(text, key.recipe).encode("utf-8", "surrogateescape")
    }
    files = [path for below in {folder, folder / version} for path in _files(below)]
    patches = [path for path in files if path.suffix == ".patch"]
    sources = {path.name: _content(path) for path in files if path not in patches}
    if sources:
        inputs["sources"] = sources
    if key.task == "patch" and patches:
        inputs["patches"] = {path.name: _content(path) for path in patches}
    return inputs


def _files(folder: Path) -> list[Path]:
    if not folder.is_absolute():  # unknown
        return []
    return sorted(path for path in folder.glob("*") if path.is_file())


def _content(path: Path) -> bytes:
    """Return a file's content; empty if it is unreadable."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def installed_by(store: Store, label: str, packages: Iterable[str]) -> dict[TaskKey, OutputId]:
    """Return the outputs of the packages' install steps, each of the last build that has any.

    The build with the label is searched first, then those before it.
    """
    commit = labelled_build(store, label)
    newest = BuildList(store, commit) if commit else BuildList.latest(store)
    outputs: dict[TaskKey, OutputId] = {}
    missing = set(packages)
    for build in islice(walk_builds(newest), LOOK_BACK):
        for package in tuple(missing):
            lines = [line for key, line in build.lines(package).items() if key.task in OUTPUTS]
            installed = {line.key: line.output for line in lines if line.output is not None}
            if installed:
                outputs |= installed
                missing.remove(package)
        if not missing:
            break
    return outputs


def left_by(store: Store, start: Oid) -> PreviousStep | None:
    """Return the run, of any build, that left a directory with the content of a commit; or None.

    Failed runs and changes outside any task that left the content unchanged are skipped.
    """
    objects = store.objects
    if not objects.exists(start):  # the empty directory, not yet written
        return None
    tree, oid = objects.commit(start).tree, start
    while True:
        commit = objects.commit(oid)
        if len(commit.parents) < 2 or commit.tree != tree:
            return None
        record = read_run_record(objects, oid)
        key = record.facts(objects).get("task")
        if key and record.result is not None:
            return PreviousStep(TaskKey(key), record.result)
        oid = commit.parents[0]
