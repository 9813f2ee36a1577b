"""Run prov commands, each in a fork of this process, which avoids the cost of starting Python.

For each command, the server reads a line of JSON, and answers with the exit status on a line,
negative for a signal.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from importlib import import_module
from typing import Any, NoReturn

from typer.main import get_command

from tests.zygote import import_modules


def load() -> None:
    import_modules()
    app: Any = import_module("prov_cli.app")
    app.app = get_command(app.app)  # create the command only once


def run(request: dict[str, Any]) -> NoReturn:
    """Run the requested command in this process, and exit."""
    code = 3
    try:
        os.setsid()
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        said = os.open(request["said"], os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd, to in ((nothing, 0), (said, 1), (said, 2)):
            os.dup2(fd, to)
        os.closerange(3, 64)
        sys.argv = ["prov", *request["arguments"]]
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
        request = json.loads(line)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            run(request)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"code": status, "session": pid}), flush=True)


if __name__ == "__main__":
    main()
