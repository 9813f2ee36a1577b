"""The printed results of `prov rerun` and `prov reproduce`."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from prov.history import diff
from prov.replay import reproduce
from prov.text import count_text

from .output import say, say_json

SHOWN = 20
"""Number of printed lines of a log, and of printed paths of a tree."""


def print_repetitions(repetitions: Sequence[reproduce.Rerun], *, json: bool) -> None:
    """Print how the results of repeated tasks compare. Raises Exit(1) if one differs."""
    different = [repetition for repetition in repetitions if not repetition.same]
    if json:
        say_json("reproduced", tasks=[_table(repetition) for repetition in repetitions])
    else:
        # if all outputs are identical, differences in the WORKDIRs do not matter
        workdirs = len(repetitions) == 1 or bool(different)
        for repetition in repetitions:
            _print(repetition, workdir=workdirs)
        keys = ", ".join(repetition.key for repetition in different)
        verdict = f"different: {keys}" if different else "identical"
        say(f"{count_text(len(repetitions), 'task')} repeated: {verdict}")
    if different:
        raise typer.Exit(1)


def _table(repetition: reproduce.Rerun) -> dict[str, object]:
    return {
        "task": repetition.key,
        "tag": repetition.run.tag,
        "same": repetition.same,
        "problem": repetition.problem,
        "output_differences": [line.table() for line in repetition.output],
        "workdir_differences": [line.table() for line in repetition.workdir],
    }


def _print(repetition: reproduce.Rerun, *, workdir: bool) -> None:
    if repetition.problem:
        say(f"{repetition.key}: {repetition.problem}")
        for text in repetition.log.splitlines()[-SHOWN:]:
            say(f"    {text}")
        return
    _print_differences(repetition.key, "output", repetition.output)
    if workdir:
        _print_differences(repetition.key, "WORKDIR", repetition.workdir)


def _print_differences(key: str, part: str, differences: Sequence[diff.Difference]) -> None:
    if not differences:
        return
    say(f"{key}: {part} differs:")
    for difference in differences[:SHOWN]:
        say(f"  {difference.line}")
    if len(differences) > SHOWN:
        say(f"  and {len(differences) - SHOWN} more")
