"""Classify git's error messages: a declined push, a lost race or a fault; and choose a hint.

All functions are pure: they map git's output to a verdict or text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

_ROW = re.compile(
    r"!\t[^\t]*:(?P<ref>[^\t:]*)\t\[(?P<by>remote rejected|rejected|remote failure)\](?:"
    r" \((?P<why>.*)\))?"
)
_ECHO = re.compile(r"atomic push fail|atomic transaction failed")
"""The reason of a ref that was not updated because another ref of the same push was rejected."""
_RACE = re.compile(
    r"but expected|incorrect old value|reference already exists|unable to resolve reference|failed"
    r" to lock|lock error"
    r"|lock failure|LOCK_FAILURE"
)
_HELD = re.compile(r"\.lock': File exists|packed-refs\.new: File exists")
_FAULT = re.compile(
    r"Permission denied|Read-only file system|No space left|[Dd]isk quota|Input/output"
    r" error|exists; cannot create"
)
_TECHNICAL = re.compile(
    r"unpacker error|necessary objects|shallow update|internal|failed to report|inconsistent push"
    r" options"
)
_RULE = re.compile(
    r"hook declined|declined due to|protected|prohibited|deny |denied|denying|not allowed to|hidden"
    r" ref|rule violation"
    r"|checked out|^non-fast-forward$",
    re.MULTILINE,
)
_VAGUE = re.compile(r"failed to update ref|atomic transaction failed|failed to write|transaction")
_PER_REF = {
    "non-fast-forward": "receive.denyNonFastForwards is set there",
    "deletion prohibited": "receive.denyDeletes is set there",
    "deny updating a hidden ref": "transfer.hideRefs or receive.hideRefs hides it there",
    "deny deleting a hidden ref": "transfer.hideRefs or receive.hideRefs hides it there",
    "branch is currently checked out": "receive.denyCurrentBranch is set there",
}
NON_FAST_FORWARDS = "receive.denyNonFastForwards"
DELETES = "receive.denyDeletes"
_HOOKS = re.compile(r"(reference-transaction|ref updates aborted by hook)")
_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"receive\.denyNonFastForwards",
        "run `git config receive.denyNonFastForwards false` in that repository",
    ),
    (
        r"receive\.denyDeletes",
        "run `git config receive.denyDeletes false` in that repository",
    ),
    (r"hideRefs", "do not hide branches below prov/ in that repository's configuration"),
    (r"receive\.denyCurrentBranch", "publish to a bare repository: run `git init --bare DIR`"),
    (r"hook|protected|rule violation", "allow pushes to branches below prov/ on that server"),
    (
        r"exists; cannot create",
        "rename the conflicting branch there, or use another repository",
    ),
    (
        r"dubious ownership in repository at '([^']*)'",
        r"if you trust it, run `git config --global --add safe.directory \1`",
    ),
    (
        (
            r"not our ref|missing necessary objects|bad object|is corrupt|[Cc]ould not (parse|read)"
            r" object"
        ),
        "run `git fsck` in that repository to list missing objects",
    ),
    (r"[Hh]ost key verification failed", "connect once with `ssh HOST` and verify its host key"),
    (
        r"Permission denied \(|Too many authentication failures",
        "run `ssh -v HOST` to see which keys ssh tries",
    ),
    (
        r"terminal prompts disabled|could not read (Username|Password)|Authentication failed",
        "store the password in ~/.netrc or a git credential helper; builds do not prompt",
    ),
    (
        r"SSL|certificate",
        "set git's http.sslCAInfo, or GIT_SSL_CAINFO, to a file of trusted certificates",
    ),
    (
        r"HTTP 413|too large|exceeds maximum",
        "run `prov remote add` with a smaller --push-limit to split pushes",
    ),
    (
        r"Permission denied|insufficient permission|Read-only file system",
        "request write permission for that repository",
    ),
    (r"No space left|[Dd]isk quota", "free space on the disk of that repository"),
    (r"bad config", "correct that line of your git configuration"),
    (r"File exists", "if no git is running in that repository, delete the file"),
    (
        r"does not appear to be a git repository|does not exist|[Rr]epository .*not found|not a git"
        r" repository"
        r"|No such file or directory",
        (
            "run `git init --bare DIR` to create a repository, or `prov remote add` with the same"
            " name to change the URL"
        ),
    ),
    (r"transport '.*' not allowed", "use a file, ssh, git, http or https URL"),
)


_SUMMARY = "error: failed to push some refs"
_MARKS = ("fatal:", "error:", "remote:", "ssh:")
_ADVICE = re.compile(
    r"Another git process seems|an editor opened by|are terminated then try|may have crashed in"
    r"|remove the file manually"
)
"""Advice that git prints if it cannot create a lock."""
_LAST_WORDS = re.compile(
    r"^fatal: (Could not read from remote repository|the remote end hung up unexpectedly)"
)
"""Lines that git prints after the cause of a failure if the server ended the connection."""


class Verdict(Enum):
    """Why a push failed to update its refs."""

    RACE = auto()
    """Another publisher changed a ref first or is changing it: read the ref and retry."""
    DECLINED = auto()
    """A setting, hook or rule of the server forbids it: a retry is useless."""
    UNCLEAR = auto()
    """RACE or DECLINED, depending on the current refs."""
    BROKEN = auto()
    """A different failure."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A ref that a push failed to update."""

    ref: str
    by_server: bool
    """Whether the server rejected it; otherwise git did, because the ref differed from the expected
    value.
    """
    why: str

    @property
    def text(self) -> str:
        """The ref, the server's reason, and the setting that causes it."""
        text = f"{self.ref}: {self.why or 'rejected'}"
        if self.by_server and self.why in _PER_REF:
            text += f" ({_PER_REF[self.why]})"
        return text


def rejections(rows: Sequence[str]) -> list[Rejection]:
    """Return the rejected refs in the output of `git push --porcelain`.

    Refs with a reason of their own come first.
    """
    matches = [match for match in map(_ROW.match, rows) if match]
    refs = [
        Rejection(match["ref"], match["by"] != "rejected", match["why"] or "") for match in matches
    ]
    return sorted(refs, key=_is_echo)


def _is_echo(rejection: Rejection) -> bool:
    return bool(_ECHO.search(rejection.why))


def _with_own_reason(rejected: Sequence[Rejection]) -> Sequence[Rejection]:
    """Return the refs with a reason of their own, or all refs if none has one."""
    return [rejection for rejection in rejected if not _is_echo(rejection)] or rejected


def judge_push(rejected: Sequence[Rejection], words: str) -> Verdict:
    """Return why a push failed; `words` is the other output of git and the server."""
    if _HOOKS.search(words):
        return Verdict.DECLINED
    if not rejected:
        return Verdict.BROKEN
    by_server = [rejection for rejection in rejected if rejection.by_server]
    own = [rejection.why for rejection in _with_own_reason(by_server)]
    reasons = "\n".join(own)
    if _RULE.search(reasons):  # first: a hook may print anything
        return Verdict.DECLINED
    if _FAULT.search(words):
        return Verdict.BROKEN
    if len(by_server) < len(rejected):
        return Verdict.RACE
    if _RACE.search(f"{reasons}\n{words}") or lock_is_held(f"{reasons}\n{words}"):
        return Verdict.RACE
    if _TECHNICAL.search(reasons):
        return Verdict.BROKEN
    return Verdict.UNCLEAR if all(map(_VAGUE.search, own)) else Verdict.DECLINED


def lock_is_held(words: str) -> bool:
    """Return whether an existing lock file prevented an update."""
    return bool(_HELD.search(words))


def hint_for(words: str) -> str:
    """Return the hint for an error message of git, or "" if there is none."""
    matches = ((re.search(pattern, words), hint) for pattern, hint in _HINTS)
    return next((match.expand(hint) for match, hint in matches if match), "")


def summarize(text: str, rejected: Sequence[Rejection] = ()) -> str:
    """Return the causes in git's output as one line; "?" replaces unprintable characters."""
    reasons = [rejection.text for rejection in _with_own_reason(rejected)]
    causes = _causes([line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()])
    if reasons:
        causes = [line for line in causes if not line.startswith(_SUMMARY)]
    words = "; ".join(dict.fromkeys([*reasons, *causes])) or "git failed and printed nothing"
    return "".join(letter if letter.isprintable() else "?" for letter in words)[:1000]


def _causes(lines: Sequence[str]) -> list[str]:
    """Return the lines with a cause, without advice and general closing lines."""
    marked = [line for line in lines if line.startswith(_MARKS)] or lines
    bare = [line for line in marked if line != "remote:" and not _ADVICE.search(line)]
    return [line for line in bare if not _LAST_WORDS.search(line)] or bare
