"""Read the counted modules from disk."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PROGRAMS = re.compile(r"prov/\w+/(classes|layer)/|.*_pb2\.py$")
"""Code that recipes and BitBake run, which is not part of the library."""
LAYOUT = ("COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENCODING", "ENDMARKER", "FSTRING_END")
"""Uncounted tokens; an f-string counts as one token, as before Python 3.12."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A module of prov or cli, read from disk."""

    root: Path
    path: Path

    @cached_property
    def name(self) -> str:
        """The path from the root: `prov/records/refs.py`."""
        return self.path.relative_to(self.root).as_posix()

    @cached_property
    def package(self) -> str:
        """`prov.records`; `prov` for modules directly below it."""
        return ".".join(self.name.split("/")[:-1][:2])

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text)))

    @cached_property
    def functions(self) -> list[Function]:
        return [node for node in self.nodes if isinstance(node, Function)]

    @cached_property
    def token_lines(self) -> list[int]:
        """The first line of each token of code."""
        lines, fstrings = list[int](), 0
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            kind = tokenize.tok_name[token.type]
            fstrings -= kind == "FSTRING_END"
            if fstrings == 0 and kind not in LAYOUT:
                lines.append(token.start[0])
            fstrings += kind == "FSTRING_START"
        return lines

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    @property
    def is_program(self) -> bool:
        return PROGRAMS.match(self.name) is not None

    def at(self, node: ast.expr | ast.stmt | ast.arg) -> str:
        """Return a node's location and its text, shortened to one line."""
        return f"{self.name}:{node.lineno}: {' '.join(ast.unparse(node).split())[:90]}"


def read_modules(root: Path) -> list[Module]:
    """Return all modules of prov and cli in a folder, except the class scripts of recipes."""
    paths = [*(root / "prov").rglob("*.py"), *(root / "cli").rglob("*.py")]
    return [Module(root, path) for path in sorted(paths) if path.parent.name != "classes"]
