"""Find the variables that a task uses, and expand variables when they are used.

In a value, `${NAME}` refers to another variable. In a script, the shell expands `$NAME` and
`${NAME}`; the run script defines only the variables that the task uses.
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
"""Variables that are never hashed.

They differ between machines or folders, or (SOURCES) describe content with hashes of its own.
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
"""Variables in every task's environment, and variables set by the shell itself."""
LARGEST = 1 << 24
"""Maximum characters in an expanded value."""
MOST_NESTED = 100
"""Maximum length of a chain of variables that refer to each other."""
DIRECT = "DIRECT_"
"""Prefix of variables that hold the folders of direct packages."""


@dataclass(frozen=True, slots=True)
class Reached:
    """The variables and functions that a task uses, directly or not, sorted by name."""

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
    """Return the variables and functions that a task's script, postprocess and folders use.

    `outside` lists the variables in the task's environment. If it is passed, a name that is set
    neither there nor in the recipe raises RecipeError.
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
        _check_set(postprocess, settings, ("OUTPUT_DIR",), f"{where}.postprocess")
        _check_scripts(scripts, settings, outside, f"{where}.script")
    return Reached(tuple(sorted(variables)), tuple(sorted(functions)))


def _called(recipe: Recipe, task: Task) -> tuple[list[Names], set[str]]:
    """Return the names in a task's script and in each function it calls, and the functions."""
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
    """Return the variables in `names` and those their values refer to, transitively."""
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
    """Raise RecipeError for an unset name that would stop a script.

    Check nothing if a script could not be read completely.
    """
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
    """Raise RecipeError for the first name that is neither in `settings` nor in `others`."""
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
    """Return a value with every `${NAME}` replaced, except names in `keep`.

    `chain` ends with the variable whose value is expanded, if there is one. Raises RecipeError for
    unknown names, cycles and results that are too large.
    """
    return _Expansion(settings, where, keep).text(value, chain)


@dataclass(slots=True)
class _Expansion:
    """Expands values; expands each variable once.

    Without that, variables that each refer twice to the next one would take exponential time.
    """

    settings: Mapping[str, Setting]
    where: str
    keep: Collection[str]
    values: dict[str, str] = field(default_factory=dict)
    """The expanded values of variables."""

    def text(self, text: str, chain: tuple[str, ...]) -> str:
        """Return an expanded text, which is the value of the last variable in `chain`, if any."""
        size = 0

        def replacement(match: re.Match[str]) -> str:
            nonlocal size
            name = match[1]
            value = match[0] if name in self.keep else self.value(name, chain)
            size += len(value)
            if size > LARGEST:
                subject = " -> ".join(chain) or "a value"
                raise RecipeError(
                    f"{self.where}: {subject} expands to more than {LARGEST} characters",
                    hint="repeat fewer references in these values",
                )
            return value

        return REFERENCE.sub(replacement, text)

    def value(self, name: str, chain: tuple[str, ...]) -> str:
        """Return the expanded value of a variable, which the last one in `chain` refers to."""
        if name not in self.values:
            self._check(name, chain)
            self.values[name] = self.text(self.settings[name].value, (*chain, name))
        return self.values[name]

    def _check(self, name: str, chain: tuple[str, ...]) -> None:
        if len(chain) > MOST_NESTED:
            start = " -> ".join(chain[:5])
            raise RecipeError(
                f"{self.where}: variables nested more than {MOST_NESTED} deep: {start} -> …",
                hint="shorten this chain of references",
            )
        if name in chain:
            cycle = " -> ".join([*chain, name])
            raise RecipeError(
                f"{self.where}: variable cycle: {cycle}", hint="remove one of these references"
            )
        if name not in self.settings:
            via = f" (used by {' -> '.join(chain)})" if chain else ""
            raise RecipeError(
                f"{self.where}: ${{{name}}} is not set{via}", hint=nearest(name, self.settings)
            )


def with_values(
    settings: Mapping[str, Setting], values: Mapping[str, str], origin: str
) -> dict[str, Setting]:
    """Return settings with fixed values added, such as a task's folders."""
    return dict(settings) | {name: Setting(value, origin) for name, value in values.items()}


def describe(setting: Setting, name: str) -> Iterable[str]:
    """Yield a line for each value that a variable had; the last one is in effect."""
    for version in (*setting.replaced, setting):
        yield f"{name} = {version.value!r}  ({version.origin})"
