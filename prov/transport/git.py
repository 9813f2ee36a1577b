"""Run git fetch, push and ls-remote under limits, and classify their failures."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prov.files import write_scratch
from prov.store.objects import Oid
from prov.transport.access import Access, resolved_url
from prov.transport.address import folder_of, git_dir_of, scheme_of, without_password
from prov.transport.answers import (
    Rejection,
    Verdict,
    hint_for,
    judge_push,
    lock_is_held,
    rejections,
    summarize,
)
from prov.transport.commands import (
    SENDING_BY_VARIABLE,
    receiving_command,
    sending_command,
    transfer_command,
)
from prov.transport.errors import Declined, Ended, Malformed, Refused, RemoteChanged, Unreachable
from prov.transport.locks import clear_stale_locks
from prov.transport.watch import MEMORY, Finished, Watch, run_watched

_REFUSED = re.compile(r"does not allow request for unadvertised object")
_BROKEN = re.compile(r"fsck error in pack")
# either the server runs only git's programs or it is down: the next attempt shows which
_NO_SHELL = re.compile(r"Could not read from remote repository", re.IGNORECASE)
_NO_REF = re.compile(r"couldn't find remote ref")
RECEIVED = 1 << 40
"""Default limit for received packs, in bytes."""
_LOCK_PATIENCE = 60.0
"""Seconds to wait for a lock in a local folder: longer than the age from which the lock of a killed
push is stale.
"""


class PushFailed(Unreachable):
    """A push failed to update its refs. `rejected`: the refs that git reports, with reasons."""

    def __init__(self, remote: str, words: str, rejected: Sequence[Rejection]) -> None:
        super().__init__(remote, words, hint=hint_for(words))
        self.rejected = rejected


@dataclass(frozen=True, slots=True)
class Update:
    """The change of one ref from an expected id to a new one; None is a missing ref."""

    old: Oid | None
    new: Oid | None


@dataclass(frozen=True, slots=True)
class Transport:
    """A remote's URL and the settings to connect to it."""

    name: str
    url: str
    access: Access

    @property
    def is_ssh(self) -> bool:
        return scheme_of(resolved_url(self.url, self.access)) == "ssh"

    @property
    def folder(self) -> Path | None:
        """The path of the remote's repository if its URL is a file URL, else None."""
        folder = folder_of(resolved_url(self.url, self.access))
        return git_dir_of(folder) if folder else None

    def fetch(
        self, git_dir: Path, refspecs: Sequence[str], *options: str, most: int = RECEIVED
    ) -> None:
        """Fetch refs into a repository.

        Raises KeyError if a ref is missing at the remote, TooMuch if the repository's packs would
        exceed `most` bytes, and Unreachable otherwise.
        """
        arguments = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force"]
        arguments += [*self._sender(), *options, "--end-of-options", self.url, *refspecs]
        try:
            self._run(git_dir, arguments, most=most)
        except Unreachable as error:
            if _NO_REF.search(error.words):
                raise KeyError(refspecs[0]) from error
            raise

    def _sender(self) -> list[str]:
        """Return the option that sets the upload-pack command for a local folder."""
        return [] if self.folder is None else [f"--upload-pack={sending_command()}"]

    def fetch_objects(
        self,
        git_dir: Path,
        commits: Sequence[Oid],
        have: Sequence[Oid],
        *,
        by_variable: bool,
        most: int = RECEIVED,
    ) -> None:
        """Fetch commits, or blobs, by id, without the objects of the commits in `have`.

        The commits have no parents. They are listed in `shallow`; otherwise git would not compare
        trees of unrelated commits. Raises Refused if the server does not serve objects by id. With
        `by_variable`, the command for an ssh server selects protocol version 2, which works without
        a setting of sshd.
        """
        write_scratch(git_dir / "shallow", "".join(sorted(f"{oid.hex()}\n" for oid in have)))
        arguments = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--stdin"]
        arguments += [f"--negotiation-tip={oid.hex()}" for oid in have]
        if not have:
            (git_dir / "shallow").unlink()
        arguments += self._sender()
        if by_variable and self.is_ssh:
            arguments.append(f"--upload-pack={SENDING_BY_VARIABLE}")
        data = "".join(f"{oid.hex()}\n" for oid in commits).encode()
        try:
            self._run(git_dir, [*arguments, "--end-of-options", self.url], data, most=most)
        except Ended as error:
            if by_variable:
                raise Refused(self.name, error.words) from error
            raise

    def refs(self, git_dir: Path, pattern: str) -> dict[str, Oid]:
        """Return the remote's refs that match a pattern."""
        rows = self._run(
            git_dir, ["ls-remote", "--quiet", "--refs", "--end-of-options", self.url, pattern]
        )
        # splitlines would also split at Unicode line separators in a name
        pairs = (
            line.partition("\t") for line in rows.decode("utf-8", "surrogateescape").split("\n")
        )
        return {name: bytes.fromhex(oid) for oid, _, name in pairs if len(oid) == 40}

    def push(
        self,
        git_dir: Path,
        updates: Mapping[str, Oid | None],
        expected: Mapping[str, Oid | None],
        *,
        negotiate: bool = False,
        by_variable: bool = False,
    ) -> None:
        """Update refs at the remote atomically, if the refs in `expected` have these values.

        With `negotiate`, git asks the server which commits it has, with `by_variable` as in
        `fetch_objects`; without negotiation it sends all objects. Raises RemoteChanged if another
        process updated a ref first, Declined if the server forbids the push, else Unreachable.
        """
        settings = [f"push.negotiate={str(negotiate).lower()}"]
        if by_variable and self.is_ssh and "=" not in self.url:
            # git push negotiates by a fetch, which uses this command
            settings.append(f"remote.{self.url}.uploadpack={SENDING_BY_VARIABLE}")
        atomic = ["--atomic"] if len(updates) > 1 else []
        command = self._push_command(settings, atomic, updates, expected)
        end = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                self._run(git_dir, command)
                return
            except PushFailed as error:
                if not self._wait_for_lock(error.words, end):
                    raise self._judged(git_dir, error, expected) from error

    def push_each(self, git_dir: Path, updates: Mapping[str, Update]) -> set[str]:
        """Update the refs that have their expected values; return their names.

        Raises Declined if the server forbids an update, and Unreachable if it updated nothing for
        another reason than a changed ref.
        """
        new = {ref: update.new for ref, update in updates.items()}
        expected = {ref: update.old for ref, update in updates.items()}
        try:
            self._run(git_dir, self._push_command([], [], new, expected))
        except PushFailed as error:
            verdict = judge_push(error.rejected, error.words)
            if verdict not in (Verdict.RACE, Verdict.UNCLEAR):
                raise self._judged(git_dir, error, expected) from error
            if lock_is_held(error.words) and self.folder is not None:
                clear_stale_locks(self.folder)  # for the next attempt
            return updates.keys() - {rejection.ref for rejection in error.rejected}
        return {*updates}

    def _push_command(
        self,
        settings: Sequence[str],
        options: Sequence[str],
        updates: Mapping[str, Oid | None],
        expected: Mapping[str, Oid | None],
    ) -> list[str]:
        arguments = [word for setting in settings for word in ("-c", setting)]
        arguments += ["push", "--quiet", "--porcelain", "--no-verify", "--no-signed", *options]
        if self.folder is not None:
            arguments.append(f"--receive-pack={receiving_command(self.name, self.folder)}")
        arguments += [f"--force-with-lease={ref}:{_hex(oid)}" for ref, oid in expected.items()]
        specs = [_update(ref, oid, leased=ref in expected) for ref, oid in updates.items()]
        return [*arguments, "--end-of-options", self.url, *specs]

    def _wait_for_lock(self, words: str, end: float) -> bool:
        """Return whether to retry a push that failed at a lock: in a local folder until `end`.

        Removes stale locks, or waits if there are none.
        """
        if not lock_is_held(words) or time.monotonic() > end:
            return False
        folder = self.folder
        if folder is None:
            return False
        if not clear_stale_locks(folder):
            time.sleep(random.uniform(0.05, 0.5))
        return True

    def _judged(
        self, git_dir: Path, error: PushFailed, expected: Mapping[str, Oid | None]
    ) -> Unreachable:
        """Return the error for a failed push."""
        verdict = judge_push(error.rejected, error.words)
        if verdict is Verdict.UNCLEAR:
            verdict = Verdict.RACE if self._differs(git_dir, expected) else Verdict.DECLINED
        by_git = not all(rejection.by_server for rejection in error.rejected)
        if verdict is Verdict.RACE and by_git and not self._differs_soon(git_dir, expected):
            words = (
                f"the server hides refs from pushes (receive.hideRefs is set there): {error.words}"
            )
            return Declined(self.name, words, hint=hint_for(words))
        if verdict is Verdict.RACE:
            return RemoteChanged(self.name, error.words)
        if verdict is Verdict.DECLINED:
            return Declined(
                self.name,
                f"the server declined the push: {error.words}",
                hint=hint_for(error.words),
            )
        return error

    def _differs_soon(self, git_dir: Path, expected: Mapping[str, Oid | None]) -> bool:
        """As `_differs`, with retries: a mirror that serves fetches may lag behind the server that
        receives pushes.
        """
        for pause in (0.0, 1.0, 2.0):
            time.sleep(pause)
            if self._differs(git_dir, expected):
                return True
        return False

    def _differs(self, git_dir: Path, expected: Mapping[str, Oid | None]) -> bool:
        """Return whether refs at the remote differ from the expected values."""
        return any(self.refs(git_dir, ref).get(ref) != oid for ref, oid in expected.items())

    def _run(
        self, git_dir: Path, arguments: Sequence[str], data: bytes = b"", *, most: int = RECEIVED
    ) -> bytes:
        """Run git and return its output. Raises the error of `_failure` if it fails."""
        watch = Watch(
            remote=self.name,
            patience=self.access.patience,
            most=most,
            memory=MEMORY if self.folder is None else None,
            interactive=self.access.interactive,
        )
        command = transfer_command(git_dir, arguments)
        finished = run_watched(command, git_dir, data, self._variables(), watch)
        if finished.status:
            raise self._failure(finished, is_push="push" in arguments)
        return finished.output

    def _failure(self, finished: Finished, *, is_push: bool) -> Unreachable | Malformed:
        """Return the error for a failed git command."""
        # git push prints the reasons for rejected refs to stdout
        rejected = rejections(finished.output.decode("utf-8", "replace").splitlines())
        text = finished.words.replace(self.url, without_password(self.url))
        words = summarize(text, rejected)
        if _BROKEN.search(finished.words):  # the remote was reached: a retry is useless
            return Malformed(self.name, f"it sent objects that git rejected: {words}")
        if _REFUSED.search(finished.words):
            return Refused(self.name, words)
        if is_push:
            return PushFailed(self.name, words, rejected)
        kind = Ended if _NO_SHELL.search(finished.words) else Unreachable
        return kind(self.name, words, hint=hint_for(words))

    def _variables(self) -> dict[str, str]:
        """Return git's environment; for an https URL, forbid a redirect to http."""
        variables = self.access.variables()
        if scheme_of(resolved_url(self.url, self.access)) == "https":
            allowed = variables["GIT_ALLOW_PROTOCOL"].split(":")
            secure = [scheme for scheme in allowed if scheme != "http"]
            variables["GIT_ALLOW_PROTOCOL"] = ":".join(secure)
        return variables


def _hex(oid: Oid | None) -> str:
    """Return an id as an argument of git push; None becomes "", which means no object."""
    return oid.hex() if oid else ""


def _update(ref: str, oid: Oid | None, *, leased: bool) -> str:
    """Return the refspec that sets a ref, or deletes it."""
    # `+` would override the lease of a ref
    force = "+" if oid and not leased else ""
    return f"{force}{_hex(oid)}:{ref}"


def make_scratch(folder: Path, *alternates: Path) -> Path:
    """Create an empty repository that also reads the objects of others; faster than git init."""
    for name in ("objects/info", "objects/pack", "refs/heads"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_scratch(folder / "HEAD", "ref: refs/heads/none\n")
    write_scratch(folder / "config", "[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
    if alternates:
        write_scratch(
            folder / "objects/info/alternates", "".join(f"{path}/objects\n" for path in alternates)
        )
    return folder
