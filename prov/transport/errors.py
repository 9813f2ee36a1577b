"""What can be wrong with a remote: it can't be reached, or can't be trusted.

The two kinds of errors have no class in common: code that tries again after the first must never
pass over the second.
"""

from __future__ import annotations

from prov.errors import ProvError


class RemoteError(ProvError):
    """Something is wrong with a remote as it is set up here."""


class Unreachable(ProvError):
    """A remote did not answer, or not in time, or refused."""

    def __init__(self, remote: str, words: str, *, hint: str = "") -> None:
        super().__init__(
            f"remote {remote}: {words}",
            hint=hint or "`prov remote list` shows its URL; try again later",
        )
        self.remote = remote
        self.words = words


class Refused(Unreachable):
    """The server does not give out objects by their ids, as servers of the old protocol don't."""


class Ended(Unreachable):
    """The server's git, or the connection to it, ended before it answered."""


class Stalled(Unreachable):
    """Nothing, or next to nothing, moved for too long."""


class TooMuch(Unreachable):
    """The server sends more than it may."""


class RemoteChanged(Unreachable):
    """Refs at the remote are not what they were: another process published meanwhile."""


class Declined(Unreachable):
    """The server forbids a push, by a setting, a hook or a rule: the same push never succeeds
    there.
    """


class Untrusted(ProvError):
    """A remote has what must not be used.

    `key` is the signer's, `task` the task in question; each may be empty.
    """

    def __init__(self, remote: str, words: str, *, key: str = "", task: str = "") -> None:
        of = f" {task}" if task else ""
        by = f" (key {key})" if key else ""
        super().__init__(f"remote {remote}:{of} {words}{by}", hint="it was not used")
        self.remote = remote
        self.words = words
        self.key = key
        self.task = task


class Unsigned(Untrusted):
    """It has no signature, and the remote's policy asks for one."""


class UnknownKey(Untrusted):
    """Signed, by a key that the remote's signers file does not allow."""


class Altered(Untrusted):
    """The signature is of something else."""


class WrongContent(Untrusted):
    """The record or the output that came is not the one that was signed."""


class Replayed(Untrusted):
    """What came is another task's."""


class Malformed(Untrusted):
    """A name, mode, link or size that no tree from elsewhere may have, or a text that is not what
    it should be.
    """
