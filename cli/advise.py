"""`prov advise`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import typer

from prov.dependencies import advice as advising
from prov.dependencies import findings, idle_tools, openembedded, patches, proof
from prov.errors import ProvError
from prov.store import repository
from prov.text import few

from .build import Sandbox
from .context import JsonOption, StoreOption, open_session, open_store, plain_name
from .output import note_all, remark, say, say_json, say_text
from .progress import shown_progress
from .scratch import open_scratch

MOST_EVIDENCE = 3
"""Number of printed pieces of evidence of a finding."""


def command(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE",
            help="Advise on these recipes. Default: all in the last build.",
            callback=plain_name,
        ),
    ] = None,
    prove: Annotated[
        bool,
        typer.Option("--prove", help="Build without unused dependencies and compare outputs."),
    ] = False,
    traces: Annotated[
        int,
        typer.Option("--traces", metavar="N", min=1, help="Require N complete traces of a task."),
    ] = 1,
    patch: Annotated[
        bool, typer.Option("--patch", help="Print only a patch of the recipe files.")
    ] = False,
    json: JsonOption = False,
    sandbox: Sandbox = "",
    store: StoreOption = None,
) -> None:
    """List unused and undeclared dependencies.

    prov compares what recipes declare with what their tasks read, as `prov build --trace` records
    it.
    `unused`: a declared dependency that no task used. `floating`: a recipe that is not declared,
    and provides files that tasks looked for in vain. `transitive`: a used package that is present
    only because a different package needs it at run time. `idle`: a declared host tool that was
    not executed. Without complete traces, prov lists candidates, or nothing.

    For BitBake's recipes, unused dependencies are always candidates, and --patch prints lines for a
    configuration file.

    With --prove, prov runs the recorded tasks in a scratch directory with empty directories instead
    of these dependencies. If all outputs are the same, they are not needed. Nothing is recorded.

    Examples:

        prov advise hello
        prov advise --prove --patch | patch -p1
    """
    opened = open_store(store)
    source = _bitbake(opened, traces) if openembedded.is_bitbakes(opened) else _own(opened, traces)
    if prove and source.advisor is None:
        raise ProvError(
            "--prove needs recipes of prov: it runs recorded tasks again",
            hint="remove --prove, or build the BitBake recipe without the dependency",
        )
    with shown_progress():
        rows = [source.advice(name) for name in recipes or source.names]
        if prove and source.advisor is not None:
            rows = [_proved(source.advisor, advice, sandbox) for advice in rows]
    if json:
        say_json("advice", recipes=[_table(source, advice) for advice in rows])
    elif patch:
        for advice in rows:
            _print_patch(source.patch(advice))
    else:
        for advice in rows:
            _print(advice)
        if source.advisor is not None:
            _note_open_questions(rows)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where advice comes from: prov's recipes, or BitBake's."""

    advisor: advising.Advisor | None
    """None for BitBake's."""
    names: list[str]
    """The recipes of the last build."""
    advice: Callable[[str], advising.Advice]

    def patch(self, advice: advising.Advice) -> patches.Patch:
        """Return advice as a patch, or as lines of BitBake's configuration."""
        if self.advisor is None:
            return patches.Patch(openembedded.configuration_of(advice))
        return patches.patch_of(self.advisor.project, advice)


def _own(store: repository.Store, traces: int) -> _Source:
    session = open_session(store.path, None)
    advisor = advising.Advisor(session.store, session.project, traces)
    return _Source(advisor, advisor.recipes(), advisor.advice)


def _bitbake(store: repository.Store, traces: int) -> _Source:
    advisor = openembedded.OpenEmbeddedAdvisor(store, traces)
    return _Source(None, advisor.recipes(), advisor.advice)


def _proved(advisor: advising.Advisor, advice: advising.Advice, sandbox: str) -> advising.Advice:
    """Return advice with the results of builds without its unused dependencies."""
    candidates = sorted({unused.package.recipe for unused in advice.unused})
    if not candidates:
        return advice
    removed = partial(advisor.removed_with, advice)
    with open_scratch(advisor.store, sandbox) as scratch:
        trials = proof.prove(advisor.store, scratch, advice.recipe, candidates, removed)
    return proof.with_proofs(advice, trials)


def _print_patch(patch: patches.Patch) -> None:
    if patch.text:
        say_text(patch.text.rstrip("\n"))
    note_all(patch.left_out)


def _print(advice: advising.Advice) -> None:
    lines = [*_lines(advice)]
    if not lines:
        say(f"{advice.recipe}: no findings")
        return
    say(advice.recipe)
    for label, subject, text in lines:
        say(f"  {label:10}  {subject}: {text}")


def _note_open_questions(rows: Iterable[advising.Advice]) -> None:
    """Print how to complete the lists of reads, and how to decide about candidates."""
    rows = list(rows)
    candidates = [own for advice in rows for own in advice.unused]
    if any(advice.unknown for advice in rows):
        remark("to record what tasks read, run `prov build --trace TASK`")
    if any(own.certainty == findings.Certainty.CANDIDATE for own in candidates):
        remark("to decide about candidates, trace their tasks or run `prov advise --prove`")


def _lines(advice: advising.Advice) -> Iterator[tuple[str, str, str]]:
    """Yield the label, the subject and the evidence of each finding."""
    for unused in advice.unused:
        yield _label(unused), unused.package, _unused_text(unused)
    for floating in advice.floating:
        action = "disable it" if floating.is_cyclic else "declare or disable it"
        yield "floating", floating.provider, f"{_shown(floating.evidence)}; {action}"
    for transitive in advice.transitive:
        chain = ", ".join(transitive.chain)
        yield "transitive", transitive.package, f"{_shown(transitive.evidence)}; {chain}"
    for idle in advice.idle:
        yield _idle_label(idle), idle.tool, _idle_text(idle)
    by_reason: dict[str, list[str]] = {}
    for unknown in advice.unknown:
        by_reason.setdefault(unknown.reason, []).append(unknown.task)
    for reason, tasks in by_reason.items():
        yield "unknown", few(tasks), reason


def _label(unused: findings.Unused) -> str:
    if unused.certainty in patches.REMOVED:
        return "unused"
    return unused.certainty


def _unused_text(unused: findings.Unused) -> str:
    if unused.reason:
        return unused.reason
    if unused.certainty == findings.Certainty.PROVED:
        return "proved: the outputs are the same without it"
    return f"no use in the traces of {', '.join(unused.tasks)}"


def _idle_label(idle: idle_tools.IdleTool) -> str:
    return "idle" if idle.certainty in patches.REMOVED else idle.certainty


def _idle_text(idle: idle_tools.IdleTool) -> str:
    text = f"a host tool that {idle.task} declares and did not execute"
    return f"a host tool of {idle.task}: {idle.reason}" if idle.reason else text


def _shown(evidence: Iterable[str]) -> str:
    texts = list(evidence)
    more = [f"{len(texts) - MOST_EVIDENCE} more"] if len(texts) > MOST_EVIDENCE else []
    return ", ".join([*texts[:MOST_EVIDENCE], *more])


def _table(source: _Source, advice: advising.Advice) -> dict[str, Any]:
    return {
        "recipe": advice.recipe,
        "unused": [
            {
                "package": unused.package,
                "certainty": str(unused.certainty),
                "tasks": list(unused.tasks),
                "reason": unused.reason,
            }
            for unused in advice.unused
        ],
        "floating": [
            {
                "provider": floating.provider,
                "evidence": list(floating.evidence),
                "cyclic": floating.is_cyclic,
            }
            for floating in advice.floating
        ],
        "transitive": [
            {
                "package": transitive.package,
                "chain": list(transitive.chain),
                "evidence": list(transitive.evidence),
            }
            for transitive in advice.transitive
        ],
        "idle": [
            {
                "task": idle.task,
                "tool": idle.tool,
                "certainty": str(idle.certainty),
                "reason": idle.reason,
            }
            for idle in advice.idle
        ],
        "unknown": [{"task": unknown.task, "reason": unknown.reason} for unknown in advice.unknown],
        "patch": source.patch(advice).text,
    }
