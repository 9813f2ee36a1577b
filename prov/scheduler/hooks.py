"""Plan hooks: a project's own code reads the plan before it runs and may invalidate tasks.

A hook is either a program listed in `plan_hooks` in prov.toml or a Python entry point in the group
`prov.plan_hooks`. A program reads the plan as JSON from standard input and prints
`{"invalidate": ["recipe:task", …]}`. An entry point is called with the same table and returns the
names. If `dry_run` is true in the plan, nothing will be built and a hook must not change anything.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, ValidationError, convert

from prov.errors import BuildError
from prov.processes import run_command
from prov.records.keys import TaskKey
from prov.scheduler.plan import Plan
from prov.text import nearest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "prov.plan_hooks"
SCHEMA = 1


def plan_table(plan: Plan, workdirs: dict[TaskKey, Path], *, every: bool = False) -> dict[str, Any]:
    """Return a plan as plain data, for hooks and `prov plan --json`.

    `workdirs` maps tasks to WORKDIRs. The table lists the steps that the targets need, or with
    `every` all steps of the graph.
    """
    return {
        "targets": list(plan.graph.targets),
        "total": len(plan.work),
        "steps": [
            {
                "task": step.key,
                "action": step.action,
                "reason": step.reason,
                "task_hash": step.task_hash.hex() if step.task_hash else None,
                "static_key": step.static_key.hex(),
                "output": step.output.hex() if step.output else None,
                "workdir": str(workdirs[step.key]),
            }
            for step in (plan.steps if every else plan.wanted).values()
        ],
    }


class HookAnswer(Struct, frozen=True):
    """A hook's answer. Other keys are ignored."""

    invalidate: tuple[str, ...] = ()


def invalidated(
    plan: Plan, workdirs: dict[TaskKey, Path], scripts: Iterable[Path], *, dry: bool
) -> frozenset[str]:
    """Return the tasks that hooks invalidate.

    Raises BuildError, naming the hook, if a hook fails or its answer is invalid.
    """
    hooks = _installed_hooks()
    scripts = list(scripts)
    if not hooks and not scripts:
        return frozenset()
    steps = plan_table(plan, workdirs, every=True)
    table = {"schema": SCHEMA, "kind": "plan", **steps, "dry_run": dry}
    keys: set[str] = set()
    for hook in hooks:
        answer = {"invalidate": hook.load()(table) or ()}
        keys |= _task_keys(answer, plan, f"plan hook {hook.name}")
    for script in scripts:
        keys |= _task_keys(_run(script, json.dumps(table)), plan, f"plan hook {script}")
    return frozenset(keys)


def _installed_hooks() -> list[EntryPoint]:
    """Return the entry points of installed packages.

    importlib.metadata takes 25 ms to import and to parse all packages, more than most plans of an
    unchanged project. So the files are searched for the group first.
    """
    if not any(map(_may_have_hooks, sys.path)):
        return []
    from importlib.metadata import entry_points

    return list(entry_points(group=GROUP))


def _may_have_hooks(folder: str) -> bool:
    """Return whether a package in a folder of sys.path can have a hook."""
    try:
        names = os.listdir(folder or os.curdir)
    except NotADirectoryError:
        return True  # an archive
    except OSError:
        return False
    if any(name.endswith(".egg") for name in names):
        return True
    packages = [name for name in names if name.endswith((".dist-info", ".egg-info"))]
    return any(_names_group(os.path.join(folder, name)) for name in packages)


def _names_group(package: str) -> bool:
    try:
        with open(os.path.join(package, "entry_points.txt"), "rb") as stream:
            return GROUP.encode() in stream.read()
    except OSError:
        return False


def _run(script: Path, table: str) -> dict[str, Any]:
    """Run a hook program on a plan and return its answer; a list means the tasks to invalidate.

    Raises BuildError.
    """
    try:
        command = run_command([str(script)], data=table.encode(), errors=False)
    except OSError as error:
        raise BuildError(
            f"plan hook {script}: cannot run it: {error.strerror}",
            hint="check that the file exists and is executable",
        ) from error
    if command.status:
        raise BuildError(
            f"plan hook {script}: exit status {command.status}",
            hint="correct the hook, or remove it from `plan_hooks` in prov.toml",
        )
    try:
        answer = json.loads(command.output or "{}")
    except (ValueError, RecursionError) as error:
        raise BuildError(
            f"plan hook {script}: its output is not JSON: {error}",
            hint='print {"invalidate": ["recipe:task"]}',
        ) from error
    return answer if isinstance(answer, dict) else {"invalidate": answer}


def _task_keys(answer: dict[str, Any], plan: Plan, hook: str) -> set[str]:
    """Return the tasks named in a hook's answer. Raises BuildError."""
    try:
        keys = convert(answer, HookAnswer).invalidate
    except (ValidationError, ValueError) as error:
        raise BuildError(
            f"{hook}: invalid output: {error}", hint='print {"invalidate": ["recipe:task"]}'
        ) from error
    for key in keys:
        if key not in plan.steps:
            raise BuildError(
                f"{hook}: cannot invalidate {key!r}: it is not in the plan",
                hint=nearest(key, plan.steps),
            )
    return set(keys)
