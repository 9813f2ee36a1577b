"""Let Buildroot call prov before and after each step: lines in local.mk, and a script.

Buildroot reads local.mk, the package override file, and never writes it. The lines there add to the
hooks that Buildroot calls around each step, as BR2_INSTRUMENTATION_SCRIPTS does. That variable
itself is of no use here: Buildroot evaluates it before it reads local.mk, kconfig deletes it from
.config, and its scripts do not learn the build directory.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from prov.errors import BuildrootError
from prov.files import replace_file

CONFIG = ".config"
SCRIPT = ".prov-step"
"""The script's name in the build directory."""
MODULE = "prov_cli.buildroot_step"
"""The module that the script runs."""
DEFAULT_OVERRIDES = "$(CONFIG_DIR)/local.mk"
_MARK = "# prov: begin"
BEGIN = f"{_MARK} (`prov buildroot setup --remove` removes these lines)"
END = "# prov: end"
_BLOCK = re.compile(rf"\n?{re.escape(_MARK)}\b[^\n]*\n.*?{re.escape(END)}\n", re.DOTALL)
_OVERRIDES = re.compile(r'^BR2_PACKAGE_OVERRIDE_FILE="([^"]*)"$', re.MULTILINE)

BLOCK = f"""
{BEGIN}
PROV_STEP := $(wildcard $(CONFIG_DIR)/{SCRIPT})
ifneq ($(PROV_STEP),)
PROV_MAKE := $(shell echo "$$(date -u +%Y%m%d-%H%M%S)-$$PPID")
define prov_step
\t@$(EXTRA_ENV) $(PROV_STEP) --make="$(PROV_MAKE)" --directory="$(@D)" \\
\t\t--package="$(abspath $($(PKG)_PKGDIR))" --needs="$($(PKG)_FINAL_DEPENDENCIES)" \\
\t\t"$(1)" "$(2)" "$(3)"
endef
GLOBAL_INSTRUMENTATION_HOOKS += prov_step
endif
{END}
"""
"""The lines in local.mk. If the script is deleted, Buildroot calls nothing.

make expands the definition for each step, with the step's target and package.
"""


@dataclass(frozen=True, slots=True)
class Hook:
    """How the script runs prov."""

    python: Path
    """The Python interpreter that prov is installed for."""
    store: Path
    strict: bool = False
    """Whether a step fails that cannot be recorded."""

    def text(self) -> str:
        """Return the script."""
        words = [str(self.python), "-P", "-m", MODULE, str(self.store.absolute())]
        command = f'{shlex.join(words)} "$@"'
        ending = "exit 1" if self.strict else "exit 0"
        return (
            "#!/bin/sh\n"
            "# `prov buildroot setup` wrote this script. Buildroot calls it around each step.\n"
            f"{command} || {ending}\n"
        )


def check_build(folder: Path) -> str:
    """Return the text of a build directory's .config. Raises BuildrootError for another folder."""
    path = folder / CONFIG
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise BuildrootError(
            f"{path}: {error.strerror}",
            hint="name the directory that contains Buildroot's .config: run `make defconfig` first",
        ) from error
    if "BR2_HAVE_DOT_CONFIG=y" not in text:
        raise BuildrootError(
            f"{path}: not a configuration of Buildroot",
            hint="name the directory that contains Buildroot's .config",
        )
    return text


def overrides(folder: Path) -> Path:
    """Return the path of a build directory's package override file. Raises BuildrootError."""
    match = _OVERRIDES.search(check_build(folder))
    value = match[1] if match else DEFAULT_OVERRIDES
    path = folder / value.removeprefix("$(CONFIG_DIR)/")
    if not value.startswith(("$(CONFIG_DIR)/", "/")) or "$" in str(path):
        raise BuildrootError(
            f"{folder / CONFIG}: BR2_PACKAGE_OVERRIDE_FILE is {value!r}: cannot locate that file",
            hint=f'set it to "{DEFAULT_OVERRIDES}" or to an absolute path',
        )
    return path


def set_up(folder: Path, hook: Hook) -> list[Path]:
    """Write the script and the lines in local.mk; return the changed files.

    Raises BuildrootError if the folder is not a configured build directory.
    """
    makefile, script = overrides(folder), folder / SCRIPT
    changed = []
    # the script first: the lines refer to it
    if _read(script) != hook.text():
        replace_file(script, hook.text().encode(errors="surrogateescape"))
        changed.append(script)
    script.chmod(0o755)
    text = _read(makefile)
    updated = _BLOCK.sub("", text) + BLOCK
    if updated != text:
        _write(makefile, updated)
        changed.append(makefile)
    return changed


def remove(folder: Path) -> list[Path]:
    """Remove what `set_up` wrote; return the changed files. Raises BuildrootError."""
    makefile, script = overrides(folder), folder / SCRIPT
    changed = []
    text = _read(makefile)
    updated = _BLOCK.sub("", text)
    if updated != text:
        if updated:
            _write(makefile, updated)
        else:
            makefile.unlink()
        changed.append(makefile)
    if script.exists():
        script.unlink()
        changed.append(script)
    return changed


def _read(path: Path) -> str:
    """Return a file's text; empty if it does not exist."""
    try:
        return path.read_bytes().decode(errors="surrogateescape")
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    """Replace a file. Follows a symlink to it, and keeps the file's mode."""
    real = path.resolve()
    mode = real.stat().st_mode & 0o7777 if real.exists() else 0o644
    replace_file(real, text.encode(errors="surrogateescape"))
    real.chmod(mode)
