"""Pages as man(7) source."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

import prov

from .page import ALWAYS, Page, Rows, Text
from .shared import SHARED, Block, Heading, read_page

_TOKENS = re.compile(r"`[^`]+`|(?<![\w-])--?[A-Za-z][\w-]*|\S+|\s+")


def render(page: Page) -> str:
    """Return the source of a command's page."""
    return "\n".join(_page_lines(page)) + "\n"


def _page_lines(page: Page) -> Iterator[str]:
    yield f'.TH {page.name.upper()} 1 "" "prov {prov.__version__}" "prov Manual"'
    yield ".SH NAME"
    yield from _wrapped(f"{escape(page.name)} \\- {escape(page.summary)}")
    yield ".SH SYNOPSIS"
    yield from _wrapped(styled(page.usage, bold=set(page.command)))
    yield ".SH DESCRIPTION"
    yield from _texts([Text((f"{page.summary}.",)), *page.description])[1:]
    yield from _sections(page)
    if page.examples:
        yield ".SH EXAMPLES"
        yield from _texts(page.examples)[1:]
    if page.name == "prov":
        for title, name in SHARED.items():
            yield f".SH {title}"
            yield from _blocks(read_page(name))
    yield ".SH SEE ALSO"
    yield from _see_also(page)


def _sections(page: Page) -> Iterator[str]:
    commands = False
    for title, rows in page.sections:
        if title in ALWAYS:
            yield f".SH {title.upper()}"
        else:
            if not commands:
                yield ".SH COMMANDS"
            commands = True
            if title != "Commands":
                yield f".SS {escape(title)}"
        yield from _rows(rows)


def _rows(rows: Rows) -> Iterator[str]:
    for term, text in rows:
        yield ".TP"
        yield styled(term)
        yield from _wrapped(marked(text) or "\\&")


def _blocks(blocks: Iterable[Block]) -> Iterator[str]:
    after_heading = True
    for block in blocks:
        if isinstance(block, Heading):
            yield f".SS {escape(block.title)}"
        elif isinstance(block, Text):
            yield from _texts([block])[after_heading:]
        else:
            yield from _rows(block)
        after_heading = isinstance(block, Heading)


def _texts(texts: Iterable[Text]) -> list[str]:
    """Return the lines of texts. The first, `.PP`, must not follow a heading."""
    lines = []
    for text in texts:
        if text.literal:
            lines += [".PP", ".nf", ".RS 4", *(escape(line) for line in text.lines), ".RE", ".fi"]
        else:
            lines += [".PP", *_wrapped(marked(text.joined))]
    return lines


def _wrapped(text: str) -> list[str]:
    """Return running text as lines of at most 80 columns, none of which roff reads as a request."""
    lines = textwrap.wrap(text, 78, break_long_words=False, break_on_hyphens=False)
    return [re.sub(r"^(?=[.'])", r"\\&", line) for line in lines]


def _see_also(page: Page) -> Iterator[str]:
    above = ["-".join(page.command[:end]) for end in range(1, len(page.command))]
    below = [
        f"{page.name}-{name}"
        for title, rows in page.sections
        for name, _ in rows
        if title not in ALWAYS
    ]
    names = [*above, *below] or ["git"]
    yield from _wrapped(", ".join(f"\\fB{escape(name)}\\fR(1)" for name in names))


def escape(text: str) -> str:
    """Return text escaped for roff."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return re.sub(r"^(?=[.'])", r"\\&", text)


def marked(text: str) -> str:
    """Return running text with text between backticks in bold."""
    pieces = re.split(r"`([^`]+)`", text)
    return "".join(
        f"\\fB{escape(piece)}\\fR" if index % 2 else escape(piece)
        for index, piece in enumerate(pieces)
    )


def styled(text: str, bold: Iterable[str] = ()) -> str:
    """Return a term or a synopsis: options are bold, words in capitals italic."""
    if "`" in text:
        return marked(text)
    return "".join(_styled(token, bold) for token in _TOKENS.findall(text))


def _styled(token: str, bold: Iterable[str]) -> str:
    if token in bold or re.fullmatch(r"--?[A-Za-z][\w-]*|[a-z][a-z-]+", token):
        return f"\\fB{escape(token)}\\fR"
    return re.sub(r"[A-Z][A-Z_]+", lambda name: f"\\fI{name[0]}\\fR", escape(token))
