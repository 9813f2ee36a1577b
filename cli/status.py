"""`prov status`."""

from __future__ import annotations

from prov.records.keys import TaskKey
from prov.scheduler import session as sessions

from .context import JsonOption, SetOption, StoreOption, open_session
from .output import remark, say, say_json


def command(
    json: JsonOption = False, settings: SetOption = None, store: StoreOption = None
) -> None:
    """Show which recipes are up to date.

    For the others, prov lists the tasks to run.

    Example:

        prov status
    """
    session = open_session(store, settings, create=True)
    planned, _ = session.plan(sessions.Request(("world",)))
    pending: dict[str, list[TaskKey]] = {}
    for step in planned.steps.values():
        key = TaskKey(step.key)
        tasks = pending.setdefault(key.recipe, [])
        if step.action in ("run", "may run"):
            tasks.append(key)
    recipes = sorted(pending.items())
    if not recipes:
        remark("the project has no recipes")
    if json:
        rows = [{"recipe": recipe, "to_run": tasks} for recipe, tasks in recipes]
        say_json("status", recipes=rows)
        return
    for recipe, tasks in recipes:
        names = ", ".join(task.task for task in tasks)
        state = f"to run: {names}" if tasks else "up to date"
        say(f"{recipe}: {state}")
