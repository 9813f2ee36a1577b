"""The cyclomatic complexity of a function, as radon counts it."""

from __future__ import annotations

import ast

from tests.counts.module import Function


def branches(node: ast.AST) -> int:
    """Return the number of decisions in a statement, as radon counts them."""
    own = 0
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return 0
        case ast.Assert():
            return 1
        case ast.Try():
            own = len(node.handlers) + bool(node.orelse)
        case ast.BoolOp():
            own = len(node.values) - 1
        case ast.If() | ast.IfExp():
            own = 1
        case ast.For() | ast.While() | ast.AsyncFor():
            own = 1 + bool(node.orelse)
        case ast.comprehension():
            own = 1 + len(node.ifs)
        case ast.Match():
            catch_all = any(
                isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
                for case in node.cases
            )
            own = len(node.cases) - catch_all
    return own + sum(branches(child) for child in ast.iter_child_nodes(node))


def complexity(function: Function) -> int:
    return 1 + sum(map(branches, function.body))
