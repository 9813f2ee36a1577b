"""Variables: which ones a script reaches, and what they expand to, late.

`${NAME}` in a value stands for another variable. In a script, `$NAME` and `${NAME}` are the shell's own: the run
script defines the variables that the task reaches, and no others, so that what was not found here is not there
either, and fails by name instead of going unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from prov.build.recipe import Recipe, Setting, Task
from prov.errors import RecipeError, nearest

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SHELL_REFERENCE = re.compile(r"\$\{?[#!]?([A-Za-z_][A-Za-z0-9_]*)")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Quoted text is kept; a comment begins at a # that begins a word.
_SHELL_COMMENT = re.compile(r"""('[^']*'|"(?:\\.|[^"\\])*"|\\.|\$\{?\#)|(?<![^\s;&|()])\#[^\n]*""", re.DOTALL)

PLACES = ("WORKDIR", "RECIPE_SYSROOT", "RECIPE_SYSROOT_NATIVE", "NATIVE_RPATH", "OUTPUT_DIR", "JOBS", "TASK", "SOURCES")
"""Variables that differ from place to place, or (SOURCES) stand for what is hashed by content; never part of a hash."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What a task reaches: names of variables and of functions, sorted."""

    variables: tuple[str, ...]
    functions: tuple[str, ...]


@lru_cache(maxsize=4096)
def _references(value: str) -> frozenset[str]:
    return frozenset(REFERENCE.findall(value))


@lru_cache(maxsize=4096)
def _script_words(text: str, interpreter: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return (names used as variables, words that may be functions) of a script."""
    if interpreter != "sh":
        words = frozenset(_WORD.findall(text))
        return words, frozenset()
    # a line of a here-document may begin with # and is no comment: then all is taken for code, which only costs a rerun
    code = text if "<<" in text else _SHELL_COMMENT.sub(lambda match: match[1] or "", text)
    return frozenset(_SHELL_REFERENCE.findall(code)), frozenset(_WORD.findall(code))


def reach(recipe: Recipe, task: Task) -> Reached:
    """Find the variables and functions that a task's script, postprocess and folders reach, transitively."""
    variables: set[str] = set()
    functions: set[str] = set()
    settings, bodies = recipe.variables, recipe.functions
    pending: list[tuple[str, str]] = [(task.script, task.interpreter), (task.postprocess, "sh")]
    texts = [task.dir, *task.outputdir]
    names = {name for text in texts for name in _references(text)} | set(recipe.exports(task)) | set(task.vardeps)
    while pending or names:
        if pending:
            used, words = _script_words(*pending.pop())
            names |= used
            for name in words & bodies.keys() - functions:
                functions.add(name)
                pending.append((bodies[name], "sh"))
        for name in names & settings.keys() - variables:
            variables.add(name)
            names |= _references(settings[name].value)
        names -= variables | (names - settings.keys())
    return Reached(tuple(sorted(variables)), tuple(sorted(functions)))


def expand(
    value: str,
    settings: Mapping[str, Setting],
    *,
    where: str,
    keep: Collection[str] = (),
    chain: tuple[str, ...] = (),
) -> str:
    """Return a value with every `${NAME}` replaced, but those in `keep`.

    Raises RecipeError for unknown names and for circles.
    """

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name in keep:
            return match[0]
        if name in chain:
            raise RecipeError(f"{where}: variables in a circle: {' -> '.join([*chain, name])}", hint="break it")
        setting = settings.get(name)
        if setting is None:
            via = f" (by way of {' -> '.join(chain)})" if chain else ""
            raise RecipeError(f"{where}: ${{{name}}} is not set{via}", hint=nearest(name, settings))
        return expand(setting.value, settings, where=where, keep=keep, chain=(*chain, name))

    return REFERENCE.sub(replace, value)


def with_values(settings: Mapping[str, Setting], values: Mapping[str, str], origin: str) -> dict[str, Setting]:
    """Return settings with some that nobody may override, such as the places of a task."""
    return dict(settings) | {name: Setting(value, origin) for name, value in values.items()}


def describe(setting: Setting, name: str) -> Iterable[str]:
    """Yield a line for each value that a variable had, the one that counts last."""
    for each in (*setting.replaced, setting):
        yield f"{name} = {each.value!r}  ({each.origin})"
