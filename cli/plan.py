"""`prov plan`."""

from __future__ import annotations

from prov.scheduler import hooks
from prov.scheduler import session as sessions

from .build import Follow, Force, Incremental, Offline, Only, Rebuild, Sandbox, Targets
from .context import JsonOption, SetOption, StoreOption, open_session
from .output import note_all, say, say_json


def command(
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
    """Show which tasks a build would run, and why.

    Example:

        prov plan image
    """
    session = open_session(store, settings, sandbox=sandbox, offline=offline, create=True)
    request = sessions.Request(
        tuple(targets), tuple(force or ()), rebuild, only, follow, incremental
    )
    planned, workspace = session.plan(request)
    if json:
        table = hooks.plan_table(planned, session.workdirs(planned, workspace))
        say_json("plan", **table)
        return
    width = max((len(key) for key in planned.wanted), default=0)
    for step in planned.wanted.values():
        say(f"{step.key:{width}}  {step.action:10}  {step.reason}")
    note_all(session.caches.notes)
    summary = f"at most {len(planned.work)} of {len(planned.steps)} tasks to run"
    if planned.fetches:
        summary += f", {len(planned.fetches)} to fetch"
    recorded = len(planned.steps) - len(planned.wanted)
    if recorded:
        summary += f"; {recorded} more are recorded and not needed"
    say(summary)
