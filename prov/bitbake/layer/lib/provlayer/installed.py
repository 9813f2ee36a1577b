"""Report to the writer when the sysroots of a task are installed.

extend_recipe_sysroot fills the sysroots after a task has begun. What it opens in them is not read
by the task, and the writer must watch the folders that it creates before the task opens files in
them. Therefore the function is wrapped in the process of a task. This happens after all hashes are
computed, so no hash depends on it.
"""

import bb

from provlayer import facts, wire

FUNCTION = "extend_recipe_sysroot"
"""The function of staging.bbclass."""
WRAPPED = "prov_wrapped_extend_recipe_sysroot"
"""Name under which the function is saved."""
INSTALLING = "do_prepare_recipe_sysroot"
"""The task that calls the function itself; other tasks do so before they run."""


def begin(d, task):
    """Wrap the function before a task that calls it."""
    own = d.getVar(FUNCTION, False)
    calls = FUNCTION in (d.getVarFlag(task, "prefuncs") or "").split()
    if own is None or not (calls or task == INSTALLING):
        return
    d.setVar(WRAPPED, own)
    for flag, value in (d.getVarFlags(FUNCTION) or {}).items():
        d.setVarFlag(WRAPPED, flag, value)
    d.setVar(FUNCTION, "    import provlayer.installed\n    provlayer.installed.extend(d)\n")


def extend(d):
    """Update the sysroots of the running task, and report it to the writer."""
    bb.build.exec_func(WRAPPED, d)
    request = dict(facts.names(d, d.getVar("BB_RUNTASK")), what="installed")
    try:
        wire.ask(facts.socket_path(d), request)
    except OSError as error:
        bb.note(f"prov: the list of what the task reads is incomplete: {error}")
