"""`prov plan`."""

from __future__ import annotations

from .build import Follow, Force, Incremental, Offline, Only, Rebuild, Sandbox, Targets
from .context import JsonOption, SetOption, StoreOption, open_session
from .output import SCHEMA, note, say, say_text


def plan(
    targets: Targets,
    force: Force = None,
    rebuild: Rebuild = False,
    only: Only = False,
    follow: Follow = "changed",
    incremental: Incremental = False,
    offline: Offline = False,
    sandbox: Sandbox = "",
    json: JsonOption = False,
    settings: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Print what a build would do, and why.

    Example: prov plan image
    """
    from json import dumps

    from prov.scheduler.hooks import plan_table
    from prov.scheduler.session import Request

    session = open_session(store, settings, sandbox=sandbox, offline=offline, create=True)
    request = Request(tuple(targets), tuple(force or ()), rebuild, only, follow, incremental)
    made, site = session.plan(request)
    if json:
        say_text(
            dumps(
                {
                    "kind": "plan",
                    **plan_table(made, session.workdirs(made, site)),
                    "schema": SCHEMA,
                },
                indent=2,
            )
        )
        return
    width = max((len(key) for key in made.wanted), default=0)
    for step in made.wanted.values():
        say(f"{step.key:{width}}  {step.action:10}  {step.reason}")
    for text in session.caches.notes:
        note(f"note: {text}")
    recorded = len(made.steps) - len(made.wanted)
    below = f"; {recorded} more are not needed" if recorded else ""
    fetched = f", {len(made.fetches)} to fetch" if made.fetches else ""
    say(f"{len(made.work)} of {len(made.steps)} tasks to run, at the most{fetched}{below}")
