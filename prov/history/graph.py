"""The graph of runs by the WORKDIRs they continue, drawn by git."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prov.store.git import run_git
from prov.store.repository import Store

_MARK = "\x1f"


def first_parents(store: Store, commits: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the lines of git's graph of first parents: edges, commit id (hex), and subject.

    The graph contains the given commits and the commits between them, such as manual edits of a
    WORKDIR. A line that holds only edges has no id and no subject.
    """
    if not commits:
        return
    options = ["--graph", "--first-parent", "--no-color", f"--format={_MARK}%H{_MARK}%s"]
    limit = f"--max-count={2 * len(commits)}"
    data = "\n".join(commits).encode()
    answer = run_git(store.path, ["log", *options, limit, "--stdin"], data=data)
    pending = set(commits)
    for row in answer.decode("utf-8", "replace").splitlines():
        if not pending:
            return
        edges, _, rest = row.partition(_MARK)
        commit, _, subject = rest.partition(_MARK)
        pending.discard(commit)
        yield edges, commit, subject
