"""Warn about hooks into staging.bbclass that have no effect on sysroots composed by prov.

The warning names the file and line of the hook. Two other hooks work: SYSROOT_PREPROCESS_FUNCS
changes the files that a recipe stages, and a script ${bindir}/postinst-NAME runs in each sysroot
that contains the recipe.
"""

import os
import re

import bb

STAGING = "staging.bbclass"
SCRIPT = "install a script ${bindir}/postinst-NAME in the recipe: it runs in each sysroot"
BEFORE = "use SYSROOT_PREPROCESS_FUNCS: it changes the staged files"
VARIABLES = {
    "SSTATEPOSTINST": SCRIPT,
    "SSTATEPOSTINSTFUNCS": SCRIPT,
    "SYSROOT_PREFUNCS": BEFORE,
    "SYSROOT_POSTFUNCS": SCRIPT,
    "SYSROOT_POSTPROCESS_FUNCS": SCRIPT,
}
"""Variables without effect on composed sysroots, and what to use instead."""
FUNCTIONS = ("extend_recipe_sysroot", "staging_copyfile", "staging_copydir", "staging_processfixme")
"""Functions of staging.bbclass that compose sysroots."""
REPORTED = "PROV_HOOKS_REPORTED"
"""Variable with the FILE:LINE of each reported hook in the configuration."""


def configure(d):
    """Warn about hooks in the configuration, once for all recipes."""
    if bb.utils.to_boolean(d.getVar("PROV_SYSROOTS")):
        d.setVar(REPORTED, " ".join(warn(d)))


def warn(d):
    """Warn about each hook without effect that was not reported before. Return their FILE:LINEs."""
    reported = set((d.getVar(REPORTED) or "").split())
    hooks = [hook for hook in find(d) if hook[1] not in reported]
    for name, place, instead in hooks:
        bb.warn(f"prov: {place}: {name} has no effect on sysroots composed by prov: {instead}")
    return [place for _, place, _ in hooks]


def find(d):
    """Return the hooks without effect: name, FILE:LINE, and what to use instead."""
    found = []
    for name, instead in VARIABLES.items():
        if (d.getVar(name) or "").strip():
            found.append((name, _line(d, rf"(export\s+)?{name}\b[^=(\[]*="), instead))
    for name in FUNCTIONS:
        if d.getVar(name, False) is None:
            continue
        filename = d.getVarFlag(name, "filename", False) or ""
        if os.path.basename(filename) != STAGING:
            found.append(
                (name, "{}:{}".format(filename, d.getVarFlag(name, "lineno", False)), BEFORE)
            )
        if any(d.getVarFlag(name, flag, False) for flag in (":append", ":prepend", ":remove")):
            found.append(
                (
                    name,
                    _line(d, rf"(fakeroot\s+|python\s+)*{name}(:|_)(append|prepend|remove)"),
                    SCRIPT,
                )
            )
        if any(d.getVarFlag(name, flag, False) for flag in ("prefuncs", "postfuncs")):
            found.append((name, _line(d, rf"{name}\[(prefuncs|postfuncs)\]"), SCRIPT))
    return found


def _line(d, pattern):
    """Return FILE:LINE of the last parsed line that matches a pattern; the recipe if none does."""
    found = ""
    for path in (d.getVar("BBINCLUDED") or "").split():
        try:
            with open(path, errors="replace") as stream:
                lines = stream.readlines()
        except OSError:
            continue
        for number, line in enumerate(lines, 1):
            if os.path.basename(path) not in (STAGING, "sstate.bbclass") and re.match(
                pattern, line
            ):
                found = f"{path}:{number}"
    return found or d.getVar("FILE") or "the configuration"
