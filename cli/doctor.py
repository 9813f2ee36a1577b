"""`prov doctor`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import typer

from prov.doctor import machine
from prov.doctor import remotes as remote_checks
from prov.records import build_list
from prov.remote import settings
from prov.store import repository
from prov.text import count_text

from .context import JsonOption, StoreOption, project_here, root, store_path
from .output import GREEN, RED, YELLOW, say, say_coloured, say_json
from .sharing import user_access

_COLOURS = {"ok": GREEN, "warning": YELLOW, "error": RED}


def command(json: JsonOption = False, store: StoreOption = None) -> None:
    """Check this machine's setup.

    prov checks git, the sandbox, kernel limits, file systems, the clock, the locale, and the
    store's remotes and signing keys, and prints what to do about each problem. The exit status is 1
    if there is an error.

    Example:

        prov doctor
    """
    findings = list(_findings(store_path(store)))
    if json:
        say_json("doctor", findings=[asdict(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.state == machine.State.ERROR for finding in findings):
        raise typer.Exit(1)


def _findings(path: Path) -> Iterator[machine.Finding]:
    yield machine.check_git()
    yield machine.check_sandbox()
    yield machine.check_inotify()
    yield machine.check_locale(os.environ)
    project = project_here()
    folder = project.builddir if project is not None else root()
    if not path.exists():
        yield from machine.check_file_system(root(), "disk")
        return
    opened = repository.Store.open(path)
    yield from machine.check_file_system(opened.path, "disk")
    yield machine.check_devices(opened.path, folder)
    latest = build_list.BuildList.latest(opened)
    if latest is not None:
        began = opened.objects.commit(latest.commit).author.seconds
        yield machine.check_time(began, time.time())
    yield from remote_checks.check_remotes(opened, settings.read_remotes(opened), user_access())


def _print(findings: list[machine.Finding]) -> None:
    for finding in findings:
        state, text = finding.state, f"{finding.subject}: {finding.text}"
        say_coloured([(f"{state:8}", _COLOURS[state]), (text, "")])
        if finding.advice:
            say(f"        hint: {finding.advice}")
    errors = sum(finding.state == machine.State.ERROR for finding in findings)
    warnings = sum(finding.state == machine.State.WARNING for finding in findings)
    say(f"{count_text(errors, 'error')}, {count_text(warnings, 'warning')}")
