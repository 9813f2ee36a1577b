"""Record the calls of a real Buildroot: `python -m tests.buildroot.record BUILDROOT`.

Each call is recorded in calls.jsonl, with its words, its environment, and the files that changed
before it. Two runs of make are recorded: in the first, the step `greet:build` fails.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from prov.buildroot.call import VARIABLES
from prov.buildroot.setup import SCRIPT, Hook, set_up
from tests.buildroot.real import TARGETS, Build

CALLS = Path(__file__).parent / "calls.jsonl"
WATCHED = ("build", "per-package")
LEFT_OUT = "buildroot-config"

Entry = dict[str, Any]


def entry_of(path: Path) -> Entry:
    """Return a file, a link or a directory as plain data."""
    if path.is_symlink():
        return {"link": os.readlink(path)}
    if path.is_dir():
        return {"directory": True}
    return {"text": path.read_text(), "mode": path.stat().st_mode & 0o777}


def state_of(base: Path) -> dict[str, Entry]:
    """Return each path in the packages' directories with its content."""
    paths = [
        path for top in WATCHED for path in sorted((base / top).rglob("*")) if path.parent != base
    ]
    names = {str(path.relative_to(base)): path for path in paths}
    return {
        name: entry_of(path)
        for name, path in names.items()
        if LEFT_OUT not in name and not name.endswith(".log")
    }


def changes(old: dict[str, Entry], new: dict[str, Entry]) -> dict[str, Entry | None]:
    """Return the changed paths with their new content; None for a deleted path."""
    changed: dict[str, Entry | None] = {
        name: entry for name, entry in new.items() if old.get(name) != entry
    }
    return changed | {name: None for name in reversed(old) if name not in new}


def record_call(words: list[str]) -> None:
    """Append a call to the lines in BASE_DIR/calls. Buildroot's script runs this."""
    base = Path(os.environ["BASE_DIR"])
    kept = {name: os.environ[name] for name in VARIABLES if name in os.environ and name != "PATH"}
    line = json.dumps({"words": words, "environment": kept, "state": state_of(base)})
    with (base / "calls").open("a") as stream:
        stream.write(f"{line}\n")


def main(source: Path) -> None:
    """Record the calls."""
    with tempfile.TemporaryDirectory() as folder:
        build = Build.create(source.resolve(), Path(folder))
        set_up(build.output, Hook(Path(sys.executable), Path("unused")))
        script = f"#!/bin/sh\nPYTHONPATH={Path.cwd()} {sys.executable} -m {__spec__.name} call"
        (build.output / SCRIPT).write_text(f'{script} "$@"\n')
        makefile = build.external / "package/greet/greet.mk"
        working = makefile.read_text()
        makefile.write_text(working.replace("GREET_BUILD_CMDS\n", "GREET_BUILD_CMDS\n\tfalse\n", 1))
        build.make(*TARGETS, code=2)
        makefile.write_text(working)
        build.make(*TARGETS)
        lines = (build.output / "calls").read_text().splitlines()
        text = json.dumps([json.loads(line) for line in lines])
        for path, name in ((build.output, "@BASE@"), (build.external, "@EXTERNAL@")):
            text = text.replace(str(path), name)
        text = text.replace(str(build.source), "@TOPDIR@")
    calls, before = json.loads(text), dict[str, Entry]()
    for call in calls:
        state = call.pop("state")
        call["changes"], before = changes(before, state), state
    CALLS.write_text("".join(f"{json.dumps(call)}\n" for call in calls))


if __name__ == "__main__":
    if sys.argv[1] == "call":
        record_call(sys.argv[2:])
    else:
        main(Path(sys.argv[1]))
