"""`prov status`."""

from __future__ import annotations

from .context import JsonOption, SetOption, StoreOption, open_session
from .output import say, say_json


def status(json: JsonOption = False, settings: SetOption = None, store: StoreOption = None) -> None:
    """Print, for every recipe, whether what is recorded is up to date.

    Example: prov status
    """
    from prov.scheduler.session import Request

    session = open_session(store, settings, create=True)
    made, _ = session.plan(Request(("world",)))
    recipes: dict[str, list[str]] = {}
    for step in made.steps.values():
        pending = recipes.setdefault(step.key.partition(":")[0], [])
        if step.action in ("run", "may run"):
            pending.append(step.key.partition(":")[2])
    if json:
        say_json(
            "status",
            recipes=[{"recipe": name, "to_run": tasks} for name, tasks in sorted(recipes.items())],
        )
        return
    for name, tasks in sorted(recipes.items()):
        say(f"{name}: {'up to date' if not tasks else 'to run: ' + ', '.join(tasks)}")
