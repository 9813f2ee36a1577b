"""The classes of expected failures, with one root, `ProvError`.

A message states what failed, where and why; its `hint` states what to do next. Any exception that
is not a `ProvError` is a bug.
"""

from __future__ import annotations

FORGET_RUN = (
    "run `prov forget RECIPE:TASK` to delete the run; if a remote sent it, run"
    " `prov remote remove NAME`"
)
"""The hint for a malformed record, which prov did not write."""
CHECK_STORE = (
    "run `prov fsck` to list damaged objects; if a remote sent them, run `prov remote remove NAME`"
)
"""The hint for a malformed object, which prov did not write."""


class ProvError(Exception):
    """An expected failure. `hint` is an additional line for the user, or empty."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class StoreError(ProvError):
    """The store is missing, damaged or not a prov store."""


class NewerRecord(StoreError):
    """A newer prov recorded a run in a format that this one cannot read."""


class RefConflict(StoreError):
    """A compare-and-swap failed: a ref did not have its expected value."""


class CaptureError(ProvError):
    """A directory could not be captured."""


class UnreadableError(CaptureError):
    """An entry of a directory is unreadable, and a retry cannot help."""

    def __init__(self, message: str, path: bytes = b"", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path
        """The entry's path, relative to the directory."""


class CheckoutError(ProvError):
    """A tree could not be checked out."""


class SysrootError(ProvError):
    """A sysroot could not be composed."""


class SysrootConflict(SysrootError):
    """Two packages have different content at one path."""


class RecipeError(ProvError):
    """A recipe, a class or prov.toml is invalid."""


class PlanError(ProvError):
    """A target could not be planned."""


class BuildError(ProvError):
    """A build could not be started or completed."""


class BitBakeError(ProvError):
    """Data from BitBake, or its build directory, is invalid."""


class BuildrootError(ProvError):
    """Data from Buildroot, or its build directory, is invalid."""


class NameUnknown(ProvError):
    """A recipe, task, tag or build does not exist."""


class Elsewhere(NameUnknown):
    """A result was recorded on another machine, and this store lacks the requested part of it."""

    def __init__(
        self, message: str, key: str = "", task_hash: bytes = b"", *, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.key = key
        self.task_hash = task_hash
