"""Plan hooks: a project's own code sees the plan before it runs, and may invalidate tasks.

A hook is a program that `plan_hooks` in prov.toml names (the plan as JSON on its standard input,
`{"invalidate": ["recipe:task", …]}` on its standard output) or a Python entry point in the group
`prov.plan_hooks` (called with the same table, returns the names). With `dry_run` true in the plan,
nothing will be built: a hook then changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from msgspec import Struct, ValidationError, convert

from prov.errors import BuildError
from prov.processes import run_command
from prov.records.keys import TaskKey
from prov.scheduler.plan import Plan
from prov.text import nearest

GROUP = "prov.plan_hooks"
SCHEMA = 1


def plan_table(plan: Plan, workdirs: dict[TaskKey, Path], *, every: bool = False) -> dict[str, Any]:
    """Return a plan as plain data, as hooks and `prov plan --json` show it.

    `workdirs` is task -> WORKDIR. The steps are those that the targets need; with `every`, all of
    the graph.
    """
    return {
        "schema": SCHEMA,
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
    """What a hook answers; other keys are its own."""

    invalidate: tuple[str, ...] = ()


def invalidated(
    plan: Plan, workdirs: dict[TaskKey, Path], scripts: Iterable[Path], *, dry: bool
) -> frozenset[str]:
    """Return the tasks that hooks want to run again.

    Raises BuildError, naming the hook, for an invalid answer.
    """
    hooks = list(entry_points(group=GROUP))
    scripts = list(scripts)
    if not hooks and not scripts:
        return frozenset()
    table = {**plan_table(plan, workdirs, every=True), "dry_run": dry}
    keys: set[str] = set()
    for hook in hooks:
        answer = {"invalidate": hook.load()(table) or ()}
        keys |= _task_keys(answer, plan, f"plan hook {hook.name}")
    for script in scripts:
        keys |= _task_keys(_run(script, json.dumps(table)), plan, f"plan hook {script}")
    return frozenset(keys)


def _run(script: Path, table: str) -> dict[str, Any]:
    """Return what a program answers to a plan; a list alone counts as the tasks to run again.

    Raises BuildError.
    """
    try:
        command = run_command([str(script)], data=table.encode(), errors=False)
    except OSError as error:
        raise BuildError(
            f"plan hook {script}: can't be run: {error.strerror}",
            hint="check that the file exists and is executable",
        ) from error
    if command.status:
        raise BuildError(f"plan hook {script}: exit status {command.status}")
    try:
        answer = json.loads(command.output or "{}")
    except (ValueError, RecursionError) as error:
        raise BuildError(f"plan hook {script}: its answer is not JSON: {error}") from error
    return answer if isinstance(answer, dict) else {"invalidate": answer}


def _task_keys(answer: dict[str, Any], plan: Plan, hook: str) -> set[str]:
    """Return the tasks that a hook's answer names. Raises BuildError."""
    try:
        keys = convert(answer, HookAnswer).invalidate
    except (ValidationError, ValueError) as error:
        raise BuildError(
            f"{hook}: invalid answer: {error}", hint='answer {"invalidate": ["recipe:task"]}'
        ) from error
    for key in keys:
        if key not in plan.steps:
            raise BuildError(
                f"{hook}: invalidates {key!r}, which is not in the plan",
                hint=nearest(key, plan.steps),
            )
    return set(keys)
