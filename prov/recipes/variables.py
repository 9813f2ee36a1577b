"""Variables: which ones a script reaches, and what they expand to, late.

`${NAME}` in a value stands for another variable. In a script, `$NAME` and `${NAME}` are the shell's
own: the run script defines the variables that the task reaches, and no others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
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
    """Find the variables and functions that a task's script, postprocess and folders reach,
    transitively.

    With `outside`, the variables that its environment has, a name that nothing sets is a
    RecipeError.
    """
    variables: set[str] = set()
    functions: set[str] = set()
    settings, bodies = recipe.variables, recipe.functions
    where = f"{recipe.path}: tasks.{task.name}"
    scripts: list[Names] = []
    pending: list[tuple[str, str]] = [(task.script, task.interpreter)]
    names = {name for text in [task.dir, *task.outputdir] for name in _references(text)}
    names |= {
        *recipe.exports(task),
        *task.vardeps,
        *names_in(task.postprocess).used,
        *_references(task.postprocess),
    }
    while pending or names:
        if pending:
            script = _script_names(*pending.pop())
            scripts.append(script)
            names |= script.used
            for name in script.words & bodies.keys() - functions:
                functions.add(name)
                pending.append((bodies[name], "sh"))
        for name in names & settings.keys() - variables:
            variables.add(name)
            references = _references(settings[name].value)
            if outside is not None:
                _check_known(
                    references - settings.keys() - set(PLACES), settings, f"{where}: {name}"
                )
            names |= references
        names -= variables | (names - settings.keys())
    if outside is not None:
        _check_known(
            _references(task.postprocess) - settings.keys() - {"OUTPUT_DIR"},
            settings,
            f"{where}: postprocess",
        )
        if all(script.readable for script in scripts):
            needed = {name for script in scripts for name in script.needed}
            assigned = {name for script in scripts for name in script.assigned}
            unset = needed - assigned - settings.keys() - {*PLACES, *SHELL_VARIABLES, *outside}
            _check_known(
                [name for name in unset if not name.startswith(DIRECT)],
                settings,
                f"{where}: script",
            )
    return Reached(tuple(sorted(variables)), tuple(sorted(functions)))


def _check_known(unknown: Collection[str], settings: Mapping[str, Setting], where: str) -> None:
    for name in sorted(unknown)[:1]:
        hint = (
            nearest(name, settings)
            or f"declare it under [variables], or write ${{{name}:-}} if it may be unset"
        )
        raise RecipeError(f"{where}: ${{{name}}} is not set", hint=hint)


def expand(
    value: str,
    settings: Mapping[str, Setting],
    *,
    where: str,
    keep: Collection[str] = (),
    chain: tuple[str, ...] = (),
) -> str:
    """Return a value with every `${NAME}` replaced, but those in `keep`.

    Raises RecipeError for unknown names, for circles, and for a few lines that would become very
    many.
    """
    known: dict[str, str] = {}

    def expanded(text: str, chain: tuple[str, ...]) -> str:
        size = 0

        def replace(match: re.Match[str]) -> str:
            nonlocal size
            value = match[0] if match[1] in keep else of(match[1], chain)
            size += len(value)
            if size > LARGEST:
                raise RecipeError(
                    f"{where}: {' -> '.join(chain) or 'a value'} has more than {LARGEST} characters"
                )
            return value

        return REFERENCE.sub(replace, text)

    def of(name: str, chain: tuple[str, ...]) -> str:
        if (
            name in known
        ):  # each once: what is named twice by what is named twice would take exponential time
            return known[name]
        if len(chain) > MOST_NESTED:
            raise RecipeError(
                f"{where}: variables more than {MOST_NESTED} deep: {' -> '.join(chain[:5])} -> …"
            )
        if name in chain:
            raise RecipeError(
                f"{where}: variables in a circle: {' -> '.join([*chain, name])}", hint="break it"
            )
        setting = settings.get(name)
        if setting is None:
            via = f" (by way of {' -> '.join(chain)})" if chain else ""
            raise RecipeError(f"{where}: ${{{name}}} is not set{via}", hint=nearest(name, settings))
        known[name] = expanded(setting.value, (*chain, name))
        return known[name]

    return expanded(value, chain)


def with_values(
    settings: Mapping[str, Setting], values: Mapping[str, str], origin: str
) -> dict[str, Setting]:
    """Return settings with some that nobody may override, such as the places of a task."""
    return dict(settings) | {name: Setting(value, origin) for name, value in values.items()}


def describe(setting: Setting, name: str) -> Iterable[str]:
    """Yield a line for each value that a variable had, the one that counts last."""
    for each in (*setting.replaced, setting):
        yield f"{name} = {each.value!r}  ({each.origin})"
