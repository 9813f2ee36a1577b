"""What git's complaints mean: whether a server refused a push or another publisher was first, and
what to do.

Pure: the text that git printed in, a verdict out.
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
"""The reason of a ref that was not set because another one of the same push was refused."""
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
        "in that repository, `git config receive.denyNonFastForwards false` allows it",
    ),
    (
        r"receive\.denyDeletes",
        "in that repository, `git config receive.denyDeletes false` allows it",
    ),
    (r"hideRefs", "that repository's configuration must not hide branches below prov/"),
    (r"receive\.denyCurrentBranch", "publish to a bare repository: `git init --bare`"),
    (r"hook|protected|rule violation", "that server must accept pushes to branches below prov/"),
    (
        r"exists; cannot create",
        "a branch there is in the way: rename it, or use another repository",
    ),
    (
        r"dubious ownership in repository at '([^']*)'",
        r"`git config --global --add safe.directory \1` trusts it",
    ),
    (
        (
            r"not our ref|missing necessary objects|bad object|is corrupt|[Cc]ould not (parse|read)"
            r" object"
        ),
        "`git fsck` in that repository shows what is missing",
    ),
    (r"[Hh]ost key verification failed", "connect once with `ssh HOST`, and compare its key"),
    (
        r"Permission denied \(|Too many authentication failures",
        "`ssh -v HOST` shows which keys it tries",
    ),
    (
        r"terminal prompts disabled|could not read (Username|Password)|Authentication failed",
        (
            "store the password where git finds it: ~/.netrc or a credential helper; a build asks"
            " for none"
        ),
    ),
    (
        r"SSL|certificate",
        "git's http.sslCAInfo, or GIT_SSL_CAINFO, names the file of certificates to trust",
    ),
    (
        r"HTTP 413|too large|exceeds maximum",
        "a smaller `--push-limit` of `prov remote add` splits pushes",
    ),
    (
        r"Permission denied|insufficient permission|Read-only file system",
        "get write permission there",
    ),
    (r"No space left|[Dd]isk quota", "make room on the disk of that repository"),
    (r"bad config", "correct that line of your git configuration"),
    (r"File exists", "if no git is running in that repository, delete the file"),
    (
        r"does not appear to be a git repository|does not exist|[Rr]epository .*not found|not a git"
        r" repository"
        r"|No such file or directory",
        (
            "`git init --bare DIR` makes a repository; `prov remote add` with the same name changes"
            " the URL"
        ),
    ),
    (r"transport '.*' not allowed", "file, ssh, git, http and https are supported"),
)


_SUMMARY = "error: failed to push some refs"
_MARKS = ("fatal:", "error:", "remote:", "ssh:")
_ADVICE = re.compile(
    r"Another git process seems|an editor opened by|are terminated then try|may have crashed in"
    r"|remove the file manually"
)
"""What git adds to a lock that it can't make."""
_LAST_WORDS = re.compile(
    r"^fatal: (Could not read from remote repository|the remote end hung up unexpectedly)"
)
"""What git adds to the cause of a failure, when a server has ended."""


class Verdict(Enum):
    """Why a push did not set its refs."""

    RACE = auto()
    """Another publisher changed a ref first, or is changing it: read it, and try again."""
    DECLINED = auto()
    """A setting, a hook or a rule of the server forbids it: trying again is useless."""
    UNCLEAR = auto()
    """One of the two; the refs as they are now show which."""
    BROKEN = auto()
    """Something else went wrong."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A ref that a push did not set."""

    ref: str
    by_server: bool
    """False: git did not try, since the ref was not what the push expected."""
    why: str

    @property
    def text(self) -> str:
        """What the user reads: the ref, the server's reason, and the setting that it comes from."""
        text = f"{self.ref}: {self.why or 'rejected'}"
        if self.by_server and self.why in _PER_REF:
            text += f" ({_PER_REF[self.why]})"
        return text


def rejections(rows: Sequence[str]) -> list[Rejection]:
    """Return the refs that `git push --porcelain` reports as not set, those that have a reason of
    their own first.
    """
    matches = [match for match in map(_ROW.match, rows) if match]
    refs = [
        Rejection(match["ref"], match["by"] != "rejected", match["why"] or "") for match in matches
    ]
    return sorted(refs, key=_is_echo)


def _is_echo(rejection: Rejection) -> bool:
    return bool(_ECHO.search(rejection.why))


def _with_own_reason(rejected: Sequence[Rejection]) -> Sequence[Rejection]:
    """Return the refs that were refused themselves; all, if none was."""
    return [rejection for rejection in rejected if not _is_echo(rejection)] or rejected


def judge_push(rejected: Sequence[Rejection], words: str) -> Verdict:
    """Return what kept a push from setting its refs; `words` is what git and the server printed
    beside them.
    """
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
    """Return whether a lock file stood in the way of an update."""
    return bool(_HELD.search(words))


def hint_for(words: str) -> str:
    """Return what to do about a complaint of git's, empty if there is nothing more to say than the
    complaint does.
    """
    matches = ((re.search(pattern, words), hint) for pattern, hint in _HINTS)
    return next((match.expand(hint) for match, hint in matches if match), "")


def telling_lines(text: str, rejected: Sequence[Rejection] = ()) -> str:
    """Return the lines that say what is wrong, in one; control characters of a server's are
    replaced.
    """
    reasons = [rejection.text for rejection in _with_own_reason(rejected)]
    causes = _causes([line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()])
    if reasons:
        causes = [line for line in causes if not line.startswith(_SUMMARY)]
    words = "; ".join(dict.fromkeys([*reasons, *causes])) or "git failed and printed nothing"
    return "".join(letter if letter.isprintable() else "?" for letter in words)[:1000]


def _causes(lines: Sequence[str]) -> list[str]:
    """Return the lines with a cause: without advice, and without what git adds to any cause."""
    marked = [line for line in lines if line.startswith(_MARKS)] or lines
    bare = [line for line in marked if line != "remote:" and not _ADVICE.search(line)]
    return [line for line in bare if not _LAST_WORDS.search(line)] or bare
