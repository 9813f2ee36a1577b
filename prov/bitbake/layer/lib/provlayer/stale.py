"""Keep staged files when no task runs, as with `bitbake -n` and `bitbake -S`.

Event handlers of sstate.bbclass remove staged files and their stamps when task hashes have changed.
BitBake fires these events before it decides whether tasks run.
"""

import sys

import bb

from provlayer.names import STALE


def configure(d):
    """Wrap these handlers, so that they run only if tasks run."""
    if not bb.utils.to_boolean(d.getVar("PROV_SYSROOTS")):
        return
    handlers = bb.event.get_class_handlers()
    for name, handler in list(handlers.items()):
        if name.endswith(STALE) and not isinstance(handler, _Guarded):
            handlers[name] = _Guarded(handler)


class _Guarded:
    """An event handler that does nothing if no tasks run."""

    def __init__(self, handler):
        self.handler = handler

    def __call__(self, *args):
        return None if is_dry_run() else self.handler(*args)


def is_dry_run():
    """Return whether BitBake was called to run no tasks."""
    configuration = options()
    return bool(configuration and (configuration.dry_run or configuration.dump_signatures))


def options():
    """Return the options of the cooker that fires the event, or None if no caller has them.

    Events do not contain the options, so they are read from the frames of the callers.
    """
    frame = sys._getframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        configuration = getattr(getattr(owner, "cooker", owner), "configuration", None)
        if hasattr(configuration, "dry_run") and hasattr(configuration, "dump_signatures"):
            return configuration
        frame = frame.f_back
    return None
