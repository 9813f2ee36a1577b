"""Recognize SPDX license expressions in what recipes and files state.

Recipes of BitBake write `&` and `|` for AND and OR.
"""

from __future__ import annotations

import re

_ID = r"(?:DocumentRef-[A-Za-z0-9.-]+:)?[A-Za-z0-9][A-Za-z0-9.-]*\+?"
_TOKEN = re.compile(rf"\s*(\(|\)|(?:AND|OR|WITH)\b|{_ID})")
_OPERATORS = frozenset(("AND", "OR", "WITH"))
_WORDS = {"&": "AND", "|": "OR"}


def expression(text: str) -> str:
    """Return a license as an SPDX expression, or an empty text if it is not one.

    Only the syntax is checked, not whether the ids are in SPDX's list.
    """
    words = re.sub(r"[&|]", lambda match: f" {_WORDS[match[0]]} ", text)
    tokens = _TOKEN.findall(words)
    if "".join(tokens) != "".join(words.split()) or not _is_valid(tokens):
        return ""
    return " ".join(tokens).replace("( ", "(").replace(" )", ")")


def _is_valid(tokens: list[str]) -> bool:
    """Return whether ids and operators alternate, and parentheses match."""
    depth, needs_id = 0, True
    for token in tokens:
        if token == "(":
            if not needs_id:
                return False
            depth += 1
        elif token == ")":
            depth -= 1
            if needs_id or depth < 0:
                return False
        elif (token in _OPERATORS) == needs_id:
            return False
        else:
            needs_id = token in _OPERATORS
    return depth == 0 and not needs_id
