"""The steps that have started and not ended, each a small file in the store's cache folder.

Buildroot calls nothing when a step fails. A step has failed if its `make` has ended and its file
still exists. Without the file, a step is recorded from the last recorded state of its directory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from prov.buildroot.call import StepCall
from prov.errors import ProvError
from prov.files import replace_file
from prov.store.repository import Store


class Pending(msgspec.Struct, frozen=True):
    """A step that has started."""

    words: tuple[str, ...]
    """The words of the call before the step."""
    environment: dict[str, str]
    began: float
    """Seconds since the epoch."""
    start: str | None = None
    """The commit of the build directory before the step, in hex; empty if it did not exist.

    None if the state before the step is unknown.
    """
    sysroots: dict[str, tuple[str, str]] = {}
    """Sysroot -> its tree and its attributes before the step, in hex."""
    make_began: int = 0
    """When its `make` started, in clock ticks since boot; 0 if it is unknown."""

    @property
    def call(self) -> StepCall:
        """The call before the step."""
        return StepCall.parse(self.words, self.environment)

    def is_running(self) -> bool:
        """Return whether its `make` still runs; True if that is unknown."""
        return not self.make_began or process_began(self.call.pid) == self.make_began


def pending_path(store: Store, call: StepCall) -> Path:
    """Return the path of the file of a call's step."""
    identity = hashlib.sha1(os.fsencode(f"{call.directory}\0{call.key}")).hexdigest()
    return _folder(store) / identity


def save_pending(store: Store, pending: Pending) -> None:
    """Write the file of a step."""
    path = pending_path(store, pending.call)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, msgspec.msgpack.encode(pending))


def saved_pending(store: Store, call: StepCall) -> Pending | None:
    """Return the step of a call as it started; None without a readable file."""
    return _read(pending_path(store, call))


def pending_steps(store: Store) -> Iterator[Pending]:
    """Yield the steps that have not ended, the oldest first."""
    with suppress(FileNotFoundError):
        steps = [_read(path) for path in _folder(store).iterdir()]
        yield from sorted(filter(None, steps), key=lambda step: step.began)


def process_began(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 if the process has ended.

    The source is field 22 of /proc/PID/stat (proc(5)).
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    # the second field is a name in parentheses, which may contain spaces
    return int(text.rpartition(")")[2].split()[19])


def _folder(store: Store) -> Path:
    return store.cache / "buildroot"


def _read(path: Path) -> Pending | None:
    try:
        pending = msgspec.msgpack.decode(path.read_bytes(), type=Pending)
        StepCall.parse(pending.words, pending.environment)
    except (OSError, msgspec.MsgspecError, ProvError):
        return None  # another process has deleted it, or it is damaged
    return pending
