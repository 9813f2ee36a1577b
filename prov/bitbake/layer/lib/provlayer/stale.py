"""In BitBake's server: what only looks, as `bitbake -n` and `-S` do, takes nothing away.

sstate.bbclass removes what is staged, with its stamps, as soon as BitBake tells it that hashes are
others now, and BitBake tells it before it knows whether anything is to run.
"""

import sys

import bb

from provlayer.names import STALE


def configure(d):
    """Have these handlers called only when something is to run."""
    if not bb.utils.to_boolean(d.getVar("PROV_SYSROOTS")):
        return
    handlers = bb.event.get_class_handlers()
    for name, handler in list(handlers.items()):
        if name.endswith(STALE) and not isinstance(handler, _Guarded):
            handlers[name] = _Guarded(handler)


class _Guarded:
    """A handler of events that is not called by what only looks."""

    def __init__(self, handler):
        self.handler = handler

    def __call__(self, *args):
        return None if only_looks() else self.handler(*args)


def only_looks():
    """Return whether nothing is to run."""
    found = options()
    return bool(found and (found.dry_run or found.dump_signatures))


def options():
    """Return the options of the cooker that fires an event, which no event has; None if no caller
    has them.
    """
    frame = sys._getframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        found = getattr(getattr(owner, "cooker", owner), "configuration", None)
        if hasattr(found, "dry_run") and hasattr(found, "dump_signatures"):
            return found
        frame = frame.f_back
    return None
