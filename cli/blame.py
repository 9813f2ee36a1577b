"""`prov blame`."""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from prov.errors import NameUnknown
from prov.history import blame, file_names, file_versions
from prov.store import repository
from prov.text import name_text
from prov.worktree import attributes

from .context import JsonOption, StoreOption, open_store, plain_name, work_here
from .fetching import fetching
from .output import say, say_json, short_id, time_text


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A path in the last build or a WORKDIR, or RECIPE:TASK@output/PATH.",
            callback=plain_name,
        ),
    ],
    lines: Annotated[
        bool, typer.Option("--lines", "-l", help="Show each line's build, and task or patch.")
    ] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Show which tasks and sources made a file.

    prov follows the file back through the tasks that copied or wrote it, to its sources and
    patches, and names the build since which its content is unchanged. If the WORKDIR
    contains depfiles of compilers (`.d`, `.Po`, `.ninja_deps`), prov also lists the sources and
    headers of each object in the file.

    Examples:

        prov blame usr/bin/hello
        prov blame hello:install@output/image/usr/bin/hello
    """
    opened = open_store(store)
    file = fetching(opened, lambda: _find_file(opened, name))
    versions = file_versions.versions(opened, file)
    if lines:
        _show_lines(opened, file, list(versions)[::-1], json=json)
        return
    trace = blame.blame(opened, file)
    since = next((version for version in versions if _same(version, trace.node)), None)
    if json:
        _print_json(file, trace, since)
    else:
        _print(file, trace, since)


def _find_file(store: repository.Store, name: str) -> file_names.FileName:
    """Return the file with a name, and the commit of the run that contains it."""
    file = file_names.find_file(store, name, work=work_here())
    if file.commit is not None:
        return file
    return replace(file, commit=file_versions.built_run(store, file.key).commit)


def _same(version: file_versions.Version, node: attributes.FileNode) -> bool:
    return version.node is not None and version.node.same_content == node.same_content


def _print_json(
    file: file_names.FileName, trace: blame.Blame, since: file_versions.Version | None
) -> None:
    steps = [
        {
            "task": None if step.key == blame.OUTSIDE else step.key,
            "what": step.what,
            "path": step.path,
            "commit": step.commit.hex(),
            "from": step.origin or None,
            "patches": list(step.patches),
        }
        for step in trace.steps
    ]
    say_json(
        "blame",
        file=file.text,
        mode=trace.node.mode,
        since=since and since.build.hex(),
        steps=steps,
        sources=dict(trace.sources),
        units=[_unit_table(own) for own in trace.units],
    )


def _unit_table(own: blame.BlamedUnit) -> dict[str, object]:
    return {
        "made": own.unit.made,
        "read": [{"path": path, "task": own.staged.get(path)} for path in own.unit.read],
        "file": own.unit.file,
    }


def _print(
    file: file_names.FileName, trace: blame.Blame, since: file_versions.Version | None
) -> None:
    say(f"{file.text}  {stat.filemode(trace.node.mode)}")
    if since is not None:
        say(f"  unchanged since build {short_id(since.build)}, {time_text(since.seconds)}")
    for step in trace.steps:
        words = [step.key, step.what, name_text(step.path)]
        if step.origin:
            words += ["from", name_text(step.origin)]
        if step.patches:
            words += ["by", ", ".join(step.patches)]
        say(f"  {' '.join(words)}  {short_id(step.commit)}")
    if not trace.steps:
        say("  the run that made it is not recorded in this store")
    for source, what in trace.sources:
        say(f"  source {source}  {what}")
    for own in trace.units:
        _print_unit(own)


def _print_unit(own: blame.BlamedUnit) -> None:
    """Print an object with its depfile, sources and headers, without those of the host."""
    say(f"  unit {name_text(own.unit.made)}  {name_text(own.unit.file)}")
    for path in own.unit.read:
        if path in own.staged:
            say(f"    {name_text(path)}  from {own.staged[path]}")
        elif not path.startswith("/"):
            say(f"    {name_text(path)}")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a file: its text, the version of the file that added it, and its origin."""

    text: str
    version: file_versions.Version
    origin: str


def _show_lines(
    store: repository.Store,
    file: file_names.FileName,
    versions: list[file_versions.Version],
    *,
    json: bool,
) -> None:
    lines = _blamed_lines(store, file, versions)
    if json:
        rows = [
            {"build": line.version.build.hex(), "from": line.origin, "text": line.text.rstrip("\n")}
            for line in lines
        ]
        say_json("blame-lines", file=file.text, lines=rows)
        return
    width = max((len(line.origin) for line in lines), default=0)
    for number, line in enumerate(lines, 1):
        build = f"{short_id(line.version.build)}  {time_text(line.version.seconds)}"
        say(f"{build}  {line.origin:{width}}  {number:4}  {line.text.rstrip()}")


def _blamed_lines(
    store: repository.Store, file: file_names.FileName, versions: list[file_versions.Version]
) -> list[_Line]:
    """Return the lines of a file with these versions, oldest first.

    Raises NameUnknown if the newest version is not text.
    """
    texts, blobs = [], []
    for version in versions:
        if version.node is not None and stat.S_ISREG(version.node.mode):
            texts.append(version)
            blobs.append(store.objects.blob(version.node.oid))
    if not blobs or b"\0" in blobs[-1]:
        raise NameUnknown(
            f"{file.text}: not a text file in any build",
            hint="run `prov blame` without --lines",
        )
    blamed = file_versions.blame_lines([blob.decode("utf-8", "replace") for blob in blobs])
    origins = blame.line_origins(store, blame.blame(store, file))
    if len(origins) != len(blamed):  # the last build has a different version of the file
        origins = [""] * len(blamed)
    return [
        _Line(line.text, texts[line.version], origin)
        for line, origin in zip(blamed, origins, strict=True)
    ]
