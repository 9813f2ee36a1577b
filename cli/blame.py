"""`prov blame`."""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from prov.text import name_text

from .context import JsonOption, StoreOption, open_store, plain_name, work_here
from .elsewhere import fetching
from .output import say, say_json, time_text

if TYPE_CHECKING:
    from prov.history.files import FileName, Version
    from prov.store.repository import Store


def blame(
    name: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="In the last build, below a WORKDIR, or TASK@PART/PATH.",
            callback=plain_name,
        ),
    ],
    lines: Annotated[
        bool, typer.Option("--lines", "-l", help="Per line: the build, and the task or patch.")
    ] = False,
    json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Tell which tasks made a file, of which sources, and since which build its content is what it
    is.

    Examples: prov blame usr/bin/hello; prov blame hello:install@output/image/usr/bin/hello
    """
    from prov.history.blame import blame as trace
    from prov.history.files import built_run, find_file, versions

    opened = open_store(store)

    def find() -> FileName:
        file = find_file(opened, name, work=work_here())
        return (
            file
            if file.commit is not None
            else replace(file, commit=built_run(opened, file.key).commit)
        )

    file = fetching(opened, find)
    if lines:
        _lines(opened, file, list(versions(opened, file))[::-1], json=json)
        return
    found = trace(opened, file)
    since = next((each for each in versions(opened, file) if _same(each, found.node)), None)
    if json:
        steps = [
            {
                "task": each.key,
                "what": each.what,
                "path": each.path,
                "commit": each.commit.hex(),
                "from": each.origin,
                "patches": list(each.patches),
            }
            for each in found.steps
        ]
        say_json(
            "blame",
            file=file.text,
            mode=stat.filemode(found.node.mode),
            since=since and since.build.hex(),
            steps=steps,
            sources=dict(found.sources),
        )
        return
    say(f"{file.text}  {stat.filemode(found.node.mode)}")
    if since is not None:
        say(f"  as it is since build {since.build.hex()[:12]}, {time_text(since.seconds)}")
    for each in found.steps:
        origin = f" from {name_text(each.origin)}" if each.origin else ""
        patches = f" by {', '.join(each.patches)}" if each.patches else ""
        say(
            f"  {each.key} {each.what} {name_text(each.path)}{origin}{patches} "
            f" {each.commit.hex()[:12]}"
        )
    if not found.steps:
        say("  the run that made it is not recorded here")
    for source, what in found.sources:
        say(f"  source {source}  {what}")


def _same(version: Version, node: object) -> bool:
    return version.node is not None and version.node.same_content == getattr(
        node, "same_content", None
    )


def _lines(store: Store, file: FileName, found: list[Version], *, json: bool) -> None:
    from prov.errors import NameUnknown
    from prov.history.blame import blame as trace
    from prov.history.blame import line_origins
    from prov.history.files import blame_lines

    there = [each for each in found if each.node is not None and stat.S_ISREG(each.node.mode)]
    blobs = [store.objects.blob(each.node.oid) for each in there if each.node is not None]
    if not blobs or b"\0" in blobs[-1]:
        raise NameUnknown(
            f"{file.text} is no text in any build", hint="without --lines it is followed as a whole"
        )
    blamed = blame_lines([blob.decode("utf-8", "replace") for blob in blobs])
    origins = line_origins(store, trace(store, file))
    if len(origins) != len(blamed):  # the last build's file is not the one that was asked for
        origins = [""] * len(blamed)
    if json:
        rows = [
            {
                "build": there[each.version].build.hex(),
                "from": origin,
                "text": each.text.rstrip("\n"),
            }
            for each, origin in zip(blamed, origins, strict=True)
        ]
        say_json("blame lines", file=file.text, lines=rows)
        return
    width = max(map(len, origins), default=0)
    for number, (each, origin) in enumerate(zip(blamed, origins, strict=True), 1):
        version = there[each.version]
        when = time_text(version.seconds)
        say(
            f"{version.build.hex()[:12]}  {when}  {origin:{width}}  {number:4} "
            f" {each.text.rstrip()}"
        )
