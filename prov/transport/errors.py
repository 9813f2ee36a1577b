"""Errors of remotes: unreachable or untrusted.

The two kinds of errors have no common class, so code that retries after an unreachable remote never
ignores untrusted data.
"""

from __future__ import annotations

from prov.errors import ProvError


class RemoteError(ProvError):
    """The local settings of a remote are invalid."""


class Unreachable(ProvError):
    """A remote did not answer, timed out, or refused the request."""

    def __init__(self, remote: str, words: str, *, hint: str = "") -> None:
        super().__init__(
            f"remote {remote}: {words}",
            hint=hint or "run `prov remote list` to check its URL, or try again later",
        )
        self.remote = remote
        self.words = words


class Refused(Unreachable):
    """The server does not serve objects by id, for example because it uses an old protocol."""


class Ended(Unreachable):
    """The server's git, or the connection to it, ended before it answered."""


class Stalled(Unreachable):
    """The transfer stopped, or was too slow for too long."""


class TooMuch(Unreachable):
    """The server sends more bytes than the limit."""


class RemoteChanged(Unreachable):
    """Refs at the remote changed: another process published at the same time."""


class Declined(Unreachable):
    """A setting, hook or rule of the server forbids a push, so a retry cannot succeed."""


class Untrusted(ProvError):
    """Data of a remote is rejected.

    `key` is the signer's, `task` the rejected task; each may be empty.
    """

    action = "ask its publisher to publish again"
    """What the user can do, other than remove the remote."""

    def __init__(self, remote: str, words: str, *, key: str = "", task: str = "") -> None:
        of = f" {task}:" if task else ""
        by = f" (key {key})" if key else ""
        super().__init__(
            f"remote {remote}:{of} {words}{by}",
            hint=f"run `prov remote remove {remote}`, or {self.action}",
        )
        self.remote = remote
        self.words = words
        self.key = key
        self.task = task


class Unsigned(Untrusted):
    """A publication has no signature, but the remote's policy requires one."""

    action = "ask its publisher to sign with `prov remote add --key`"


class UnknownKey(Untrusted):
    """A publication is signed with a key that the remote's signers file does not allow."""

    action = "add the key to its signers file if you trust the publisher"


class Altered(Untrusted):
    """A publication does not match its signature."""


class WrongContent(Untrusted):
    """A fetched record or output differs from the signed one."""


class Replayed(Untrusted):
    """A fetched record belongs to a different task."""


class Malformed(Untrusted):
    """A tree has an invalid name, mode, link or size, or a text is invalid."""
