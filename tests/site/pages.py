"""Write the documentation for Sphinx: resolve links, and add navigation, commands and API."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path, PurePosixPath

from tests.manual.page import ALWAYS, Page, Text, all_pages
from tests.manual.shared import DOCS

TOP = DOCS.parent

NAVIGATION = {
    "Guide": [
        *("install", "tour", "recipes", "wrapping", "reads", "dependencies", "history", "query"),
        *("sharing", "servers", "farm", "bitbake", "buildroot"),
    ],
    "Reference": [
        *("commands/index", "store", "remotes", "attestation", "sbom"),
        *("exit-codes", "environment", "files", "json", "api", "glossary"),
    ],
    "Explanation": ["architecture", "security", "performance", "comparison", "adr/index"],
    "Development": [
        *("contributing", "adding-a-command", "adding-a-remote", "adding-an-observer"),
        *("security-policy", "code-of-conduct", "changelog"),
    ],
}
"""Title -> pages, in the order of the sidebar. Sphinx reports a page that is missing here."""

MOVED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    ".github/SECURITY.md": "security-policy.md",
    ".github/CODE_OF_CONDUCT.md": "code-of-conduct.md",
}
"""File outside docs/ -> its page."""

_DIAGRAM = re.compile(r"```mermaid\n.*?```\n", re.DOTALL)
"""Hosts of git draw these; the site would need a program from the network."""
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


class BrokenLink(Exception):
    """A page links to a file that does not exist."""


def write_pages(folder: Path) -> None:
    """Empty a folder and write all pages to it. Raises BrokenLink."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns("man", "*.py", "__pycache__"))
    for path in DOCS.rglob("*.md"):
        source = path.relative_to(TOP).as_posix()
        (folder / path.relative_to(DOCS)).write_text(resolved(path.read_text(), source))
    for source, page in MOVED.items():
        (folder / page).write_text(resolved((TOP / source).read_text(), source))
    _append(folder / "index.md", _navigation())
    _append(folder / "api.md", _api((folder / "api.md").read_text()))
    _write_decisions(folder / "adr")
    _write_commands(folder / "commands")


def resolved(text: str, source: str) -> str:
    """Return a page without diagrams, with its links changed to pages of the site.

    `source` is the page's file, relative to the repository. Links to other files become text.
    Raises BrokenLink.
    """
    page = MOVED.get(source) or source.removeprefix("docs/")
    text = _DIAGRAM.sub("", text)

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = os.path.normpath(PurePosixPath(source).parent / target)
        if not (TOP / path).exists():
            raise BrokenLink(f"{source}: {target}")
        if path == "docs/adr":
            path = "docs/adr/index.md"
        if path not in MOVED and not path.startswith("docs/"):
            return f"{text} (`{path}`)" if text != path else f"`{path}`"
        to = MOVED.get(path) or path.removeprefix("docs/")
        return f"[{text}]({os.path.relpath(to, PurePosixPath(page).parent)}{anchor})"

    return _LINK.sub(link, text)


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + "\n" + text)


def _toctree(pages: list[str], *options: str) -> str:
    return "\n".join(["```{toctree}", *options, "", *pages, "```", ""])


def _navigation() -> str:
    return "\n".join(
        _toctree(pages, ":hidden:", f":caption: {title}") for title, pages in NAVIGATION.items()
    )


def _write_decisions(folder: Path) -> None:
    pages = sorted(path.stem for path in folder.glob("*.md"))
    text = "# Decisions\n\nWhy prov is built as it is, one decision a page.\n\n"
    (folder / "index.md").write_text(text + _toctree(pages, ":maxdepth: 1"))


def public_names(text: str) -> dict[str, dict[str, list[str]]]:
    """Return module -> public name -> public members, from the table of docs/api.md."""
    rows = re.findall(r"^\| `(prov\.[\w.]+)` \|(.*)\|$", text, re.MULTILINE)
    return {module: dict(map(_name_and_members, row.split(";"))) for module, row in rows}


def _name_and_members(text: str) -> tuple[str, list[str]]:
    name, *members = re.findall(r"`(\w+)`", text)
    return name, members


def _api(text: str) -> str:
    """Return the reference of the public names, as directives for autodoc."""
    lines = ["## Names", ""]
    for module, names in public_names(text).items():
        lines += [f"### {module}", ""]
        for name, members in names.items():
            kind = "autoclass" if name[0].isupper() else "autofunction"
            shown = [f"   :members: {', '.join(members)}", "   :undoc-members:"]
            shown = shown if members else []
            lines += ["```{eval-rst}", f".. {kind}:: {module}.{name}", *shown, "```", ""]
    return "\n".join(lines)


def _write_commands(folder: Path) -> None:
    """Write the manual as web pages: a command and its subcommands share a page."""
    folder.mkdir()
    pages = all_pages()
    root, commands = pages[0], [page for page in pages if len(page.command) == 2]
    for command in commands:
        below = [page for page in pages if page.command[:2] == command.command]
        (folder / f"{command.name}.md").write_text("\n".join(map(_command, below)))
    index = ["# Commands", "", *_usage(root), *_sections(root, "##")]
    (folder / "index.md").write_text(
        "\n".join(index) + "\n" + _toctree([page.name for page in commands], ":hidden:")
    )


def _command(page: Page) -> str:
    depth = "#" * (len(page.command) - 1)
    lines = [f"{depth} {' '.join(page.command)}", "", f"{_escaped(page.summary)}.", ""]
    lines += _usage(page)
    lines += [line for text in page.description for line in _text(text)]
    lines += _sections(page, depth + "#")
    if page.examples:
        lines += [f"{depth}# Examples", ""]
        lines += [line for text in page.examples for line in _text(text)]
    return "\n".join(lines)


def _usage(page: Page) -> list[str]:
    return ["```text", page.usage, "```", ""]


def _text(text: Text) -> list[str]:
    if text.literal:
        return ["```text", *text.lines, "```", ""]
    return [_escaped(text.joined), ""]


def _sections(page: Page, depth: str) -> list[str]:
    """Return the lists of the help; lists of commands come first."""
    lines: list[str] = []
    for title, rows in sorted(page.sections, key=lambda section: section[0] in ALWAYS):
        lines += [f"{depth} {title}", ""]
        for term, text in rows:
            is_command = page.command == ("prov",) and title not in ALWAYS
            shown = f"[`{term}`](prov-{term}.md)" if is_command else f"`{term}`"
            lines += [shown, f": {_escaped(text) or '–'}", ""]
    return lines


def _escaped(text: str) -> str:
    """Return running text escaped for Markdown, except for backticks."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(
        piece if index % 2 else re.sub(r"([\\*_\[\]<>{}$#~])", r"\\\1", piece)
        for index, piece in enumerate(pieces)
    )
