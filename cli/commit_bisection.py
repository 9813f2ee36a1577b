"""The bisection of a git history by `prov bisect commits`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from prov.bisect import command as commands
from prov.bisect import commits, search
from prov.history import builds
from prov.records import keys
from prov.replay import command as replay
from prov.replay import mounted
from prov.replay import scratch as scratches
from prov.store import repository
from prov.tasks import sandbox as sandboxes
from prov.text import count_text, name_text
from prov.wrapped import steps as recorded

from .output import note, say, say_json
from .progress import shown_progress
from .scratch import is_on_host


class _Progress:
    """Prints the progress of a bisection to standard error."""

    def trying(self, commit: str, subject: str) -> None:
        note(f"prov: trying commit {commit[:12]} {name_text(subject)}")

    def ran(self, key: keys.TaskKey, code: int) -> None:
        if code:
            note(f"prov: {key} failed: exit status {code}")

    def verdict(self, what: str, verdict: search.Verdict, *, flaky: bool) -> None:
        note(f"prov: {what}: {verdict}")


def search_commits(
    store: repository.Store,
    good: str,
    bad: str,
    build: str,
    command: Sequence[str],
    sandbox: str,
    *,
    json: bool,
) -> None:
    """Bisect the history of the current work tree and print the answer."""
    top = commits.top_of(Path.cwd())
    steps = recorded.recorded_steps(builds.find_build(store, build), top)
    program, on_host = sandboxes.bubblewrap(sandbox or "auto"), is_on_host(sandbox)
    mounted.check_sandbox(steps[0].step.key, program, on_host=on_host)
    user = {name: os.environ[name] for name in replay.PASSED if name in os.environ}
    with scratches.scratch_folder(store) as folder, shown_progress():
        clone = folder / "clone"
        clone.mkdir()
        searched = commits.CommitSearch(
            store, top, steps, clone, program, user, command, commands.run_command, _Progress()
        )
        answer = searched.run(good, bad)
    if json:
        say_json(
            "bisect-commits",
            commits=list(answer.candidates),
            subject=answer.subject,
            tested=answer.tested,
            steps=answer.steps,
        )
        return
    if len(answer.candidates) == 1:
        say(f"commit {answer.candidates[0]} broke it: {name_text(answer.subject)}")
    else:
        say("one of these commits broke it; the others among them could not be judged:")
        for commit in answer.candidates:
            say(f"  {commit}")
    tested = count_text(answer.tested, "commit")
    say(f"{tested} tested, {count_text(answer.steps, 'step')} run")
