"""Every expected failure, under one root.

An error says what happened, where and why; its `hint` says what to do next. Anything that is
not a `ProvError` is a bug.
"""

from __future__ import annotations

FORGET_RUN = (
    "run `prov forget RECIPE:TASK` to delete the run; if a remote sent it, run"
    " `prov remote remove NAME`"
)
"""The hint for a record that prov did not write in this form."""
CHECK_STORE = (
    "run `prov fsck` to list damaged objects; if a remote sent them, run `prov remote remove NAME`"
)
"""The hint for an object that prov did not write in this form."""


class ProvError(Exception):
    """An expected failure. `hint` is one more line for the user, or empty."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class StoreError(ProvError):
    """The git store is missing, damaged or of another kind."""


class RefConflict(StoreError):
    """A ref was not what a compare-and-swap expected it to be."""


class CaptureError(ProvError):
    """A directory could not be captured as it is."""


class UnreadableError(CaptureError):
    """Something in a directory can't be read, and could not be at another time: it is another
    user's, or too deep.
    """

    def __init__(self, message: str, path: bytes = b"", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path
        """Relative to the directory."""


class CheckoutError(ProvError):
    """A tree could not be put on disk."""


class SysrootError(ProvError):
    """A sysroot could not be made what it should be."""


class SysrootConflict(SysrootError):
    """Two packages bring different content to one path."""


class RecipeError(ProvError):
    """A recipe, a class or prov.toml says something wrong."""


class PlanError(ProvError):
    """A target can't be planned."""


class BuildError(ProvError):
    """A build could not be carried out."""


class BitBakeError(ProvError):
    """What BitBake hands over, or its build directory, is not what it should be."""


class NameUnknown(ProvError):
    """A recipe, task, tag or build was named that does not exist."""


class Elsewhere(NameUnknown):
    """A result is known, and was made on another machine: what is asked for is not here, or not all
    of it.
    """

    def __init__(
        self, message: str, key: str = "", task_hash: bytes = b"", *, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.key = key
        self.task_hash = task_hash
