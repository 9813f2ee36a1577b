"""Variables: which ones a script reaches, and what they expand to, late.

`${NAME}` in a value stands for another variable. In a script, `$NAME` and `${NAME}` are the shell's
own: the run script defines the variables that the task reaches, and no others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from prov.errors import RecipeError
from prov.recipes.recipe import Recipe, Setting, Task
from prov.recipes.shell_reader import Names, names_in
from prov.text import nearest

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

PLACES = (
    "WORKDIR",
    "RECIPE_SYSROOT",
    "RECIPE_SYSROOT_NATIVE",
    "NATIVE_RPATH",
    "OUTPUT_DIR",
    "JOBS",
    "TASK",
    "SOURCES",
)
"""Variables that differ from place to place, or (SOURCES) stand for what is hashed by content;
never part of a hash.
"""

SHELL_VARIABLES = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LC_ALL",
    "TZ",
    "SHELL",
    "USER",
    "MAKEFLAGS",
    "PWD",
    "OLDPWD",
    "PPID",
    "IFS",
    "OPTIND",
    "OPTARG",
    "PS1",
    "PS2",
    "PS4",
    "LINENO",
    "ENV",
    "REPLY",
    "RANDOM",
    "SECONDS",
    "UID",
    "EUID",
    "HOSTNAME",
    "SHLVL",
    "FUNCNAME",
    "PIPESTATUS",
    "BASH",
    "BASH_SOURCE",
    "BASH_VERSION",
    "_",
)
"""Variables that every task's environment has, or that a shell sets by itself."""
LARGEST = 1 << 24
"""Characters of an expanded value."""
MOST_NESTED = 100
"""Variables that name each other in a row."""
DIRECT = "DIRECT_"
"""The prefix of variables that hold the folders of direct packages."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What a task reaches: names of variables and of functions, sorted."""

    variables: tuple[str, ...]
    functions: tuple[str, ...]


@lru_cache(maxsize=4096)
def _references(value: str) -> frozenset[str]:
    return frozenset(REFERENCE.findall(value))


def _script_names(text: str, interpreter: str) -> Names:
    if interpreter == "sh":
        return names_in(text)
    words = frozenset(_WORD.findall(text))
    return Names(words, frozenset(), readable=False)


def reach(recipe: Recipe, task: Task, outside: Collection[str] | None = None) -> Reached:
    """Return the variables and functions that a task's script, postprocess and folders reach.

    With `outside`, the variables of its environment, a name that nothing sets is a RecipeError.
    """
    settings = recipe.variables
    scripts, functions = _called(recipe, task)
    names = {
        *recipe.exports(task),
        *task.vardeps,
        *names_in(task.postprocess).used,
        *(name for script in scripts for name in script.used),
    }
    for text in (task.postprocess, task.dir, *task.outputdir):
        names |= _references(text)
    variables = _named_by(names, settings)
    if outside is not None:
        where = f"{recipe.path}: tasks.{task.name}"
        for name in sorted(variables):
            _check_set(_references(settings[name].value), settings, PLACES, f"{where}: {name}")
        postprocess = _references(task.postprocess)
        _check_set(postprocess, settings, ("OUTPUT_DIR",), f"{where}: postprocess")
        _check_scripts(scripts, settings, outside, f"{where}: script")
    return Reached(tuple(sorted(variables)), tuple(sorted(functions)))


def _called(recipe: Recipe, task: Task) -> tuple[list[Names], set[str]]:
    """Return what a task's script and its functions do with names, and the functions' names."""
    bodies = recipe.functions
    functions: set[str] = set()
    scripts: list[Names] = []
    pending = [_script_names(task.script, task.interpreter)]
    while pending:
        script = pending.pop()
        scripts.append(script)
        called = script.words & bodies.keys() - functions
        functions |= called
        pending += [names_in(bodies[name]) for name in called]
    return scripts, functions


def _named_by(names: Collection[str], settings: Mapping[str, Setting]) -> set[str]:
    """Return the variables among names, and those that their values name, transitively."""
    variables: set[str] = set()
    pending = settings.keys() & names
    while pending:
        variables |= pending
        references = {other for name in pending for other in _references(settings[name].value)}
        pending = references & settings.keys() - variables
    return variables


def _check_scripts(
    scripts: Collection[Names],
    settings: Mapping[str, Setting],
    outside: Collection[str],
    where: str,
) -> None:
    """Raise RecipeError for a name whose absence would stop a script, if all could be read."""
    if not all(script.readable for script in scripts):
        return
    needed = {name for script in scripts for name in script.needed}
    assigned = {name for script in scripts for name in script.assigned}
    names = [name for name in needed - assigned if not name.startswith(DIRECT)]
    _check_set(names, settings, {*PLACES, *SHELL_VARIABLES, *outside}, where)


def _check_set(
    names: Collection[str],
    settings: Mapping[str, Setting],
    others: Collection[str],
    where: str,
) -> None:
    """Raise RecipeError for the first of some names that neither is a setting nor among others."""
    unset = sorted(name for name in names if name not in settings and name not in others)
    if unset:
        name = unset[0]
        raise RecipeError(
            f"{where}: ${{{name}}} is not set",
            hint=nearest(name, settings)
            or f"declare it under [variables], or write ${{{name}:-}} if it may be unset",
        )


def expand(
    value: str,
    settings: Mapping[str, Setting],
    *,
    where: str,
    keep: Collection[str] = (),
    chain: tuple[str, ...] = (),
) -> str:
    """Return a value with every `${NAME}` replaced, but those in `keep`.

    `chain` ends with the variable whose value it is, if it is one's. Raises RecipeError for unknown
    names, for circles, and for a few lines that would become very many.
    """
    return _Expansion(settings, where, keep).text(value, chain)


@dataclass(slots=True)
class _Expansion:
    """Expands values, each variable once.

    A value that names twice what names twice, and so on, would take exponential time.
    """

    settings: Mapping[str, Setting]
    where: str
    keep: Collection[str]
    values: dict[str, str] = field(default_factory=dict)
    """The expanded values of variables."""

    def text(self, text: str, chain: tuple[str, ...]) -> str:
        """Return a text, expanded; it is the value of the last variable in `chain`, if any."""
        size = 0

        def replacement(match: re.Match[str]) -> str:
            nonlocal size
            name = match[1]
            value = match[0] if name in self.keep else self.value(name, chain)
            size += len(value)
            if size > LARGEST:
                subject = " -> ".join(chain) or "a value"
                raise RecipeError(f"{self.where}: {subject} has more than {LARGEST} characters")
            return value

        return REFERENCE.sub(replacement, text)

    def value(self, name: str, chain: tuple[str, ...]) -> str:
        """Return the value of a variable, which the last one in `chain` names."""
        if name not in self.values:
            self._check(name, chain)
            self.values[name] = self.text(self.settings[name].value, (*chain, name))
        return self.values[name]

    def _check(self, name: str, chain: tuple[str, ...]) -> None:
        if len(chain) > MOST_NESTED:
            start = " -> ".join(chain[:5])
            raise RecipeError(f"{self.where}: variables more than {MOST_NESTED} deep: {start} -> …")
        if name in chain:
            circle = " -> ".join([*chain, name])
            raise RecipeError(f"{self.where}: variables in a circle: {circle}", hint="break it")
        if name not in self.settings:
            via = f" (by way of {' -> '.join(chain)})" if chain else ""
            raise RecipeError(
                f"{self.where}: ${{{name}}} is not set{via}", hint=nearest(name, self.settings)
            )


def with_values(
    settings: Mapping[str, Setting], values: Mapping[str, str], origin: str
) -> dict[str, Setting]:
    """Return settings with some that nobody may override, such as the places of a task."""
    return dict(settings) | {name: Setting(value, origin) for name, value in values.items()}


def describe(setting: Setting, name: str) -> Iterable[str]:
    """Yield a line for each value that a variable had, the one that counts last."""
    for version in (*setting.replaced, setting):
        yield f"{name} = {version.value!r}  ({version.origin})"
