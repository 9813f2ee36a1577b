"""Runs prov's commands, each in a fork of this process: a command costs what it does, not what
Python's start costs.

It reads a line of JSON for each command and answers with one: the exit status, negative for a
signal.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import sys
import traceback
from importlib import import_module
from typing import Any, NoReturn

from typer.main import get_command


def load() -> None:
    """Import all that a command may import on its way."""
    for name in ("prov", "prov_cli"):
        for module in pkgutil.walk_packages(import_module(name).__path__, f"{name}."):
            if ".classes" not in module.name:
                with contextlib.suppress(
                    ImportError
                ):  # of what is optional; a command that needs it says so
                    import_module(module.name)
    app: Any = import_module("prov_cli.app")
    app.app = get_command(app.app)  # made once, and not by each command


def run(wish: dict[str, Any]) -> NoReturn:
    """Be the command that is wished for."""
    code = 3
    try:
        os.setsid()
        os.chdir(wish["folder"])
        os.environ.clear()
        os.environ.update(wish["environment"])
        said = os.open(wish["said"], os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd, to in ((nothing, 0), (said, 1), (said, 2)):
            os.dup2(fd, to)
        os.closerange(3, 64)
        sys.argv = ["prov", *wish["arguments"]]
        from prov_cli.app import main

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def main() -> None:
    load()
    print("ready", flush=True)
    for line in sys.stdin:
        wish = json.loads(line)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            run(wish)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"code": status, "session": pid}), flush=True)


if __name__ == "__main__":
    main()
