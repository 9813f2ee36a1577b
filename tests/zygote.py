"""A process that has imported prov, and forks to run each command. Its client is `tests.commands`.

Starting Python and importing modules takes most of the processor time of a short command. A fork
of this process has the modules already. It has executed no function of prov, takes over everything
that a command inherits from its caller, and then runs the command line's `main`.

Each request is one byte with five descriptors: the standard streams, a file with a pickled
`Request`, and a socket that receives the exit status, negative for a signal.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import pickle
import pkgutil
import select
import socket
import struct
import sys
from typing import NamedTuple

STATUS = struct.Struct("i")
DESCRIPTORS = 5
SCRIPTS = ("prov.recipes.classes", "prov.bitbake.layer")
"""Packages whose modules are executed by other programs."""


class Request(NamedTuple):
    arguments: list[str]
    folder: str
    umask: int
    environment: dict[str, str]


def import_modules() -> None:
    """Import all modules that a command can import later."""
    import prov_cli

    import prov

    for package in (prov, prov_cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(SCRIPTS):
                # a command that needs a missing optional package reports it
                with contextlib.suppress(ImportError):
                    importlib.import_module(module.name)


def serve(requests: socket.socket) -> None:
    """Fork for each request, and return in the child. Exit when the client closes its socket."""
    replies: dict[int, tuple[int, socket.socket]] = {}  # by the pidfd of the command
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready in replies:
                poll.unregister(ready)
                send_status(ready, *replies.pop(ready))
                continue
            data, descriptors, _, _ = socket.recv_fds(requests, 1, DESCRIPTORS)
            if not data:
                sys.exit()
            pid = os.fork()
            if pid == 0:
                for pidfd, (_, reply) in replies.items():
                    os.close(pidfd)
                    reply.close()
                requests.close()
                take_over(descriptors)
                return
            *others, reply_descriptor = descriptors
            for descriptor in others:
                os.close(descriptor)
            pidfd = os.pidfd_open(pid)
            replies[pidfd] = (pid, socket.socket(fileno=reply_descriptor))
            poll.register(pidfd, select.POLLIN)


def send_status(pidfd: int, pid: int, reply: socket.socket) -> None:
    """Send the exit status of a command that has ended."""
    os.close(pidfd)
    _, status = os.waitpid(pid, 0)
    with reply:
        reply.send(STATUS.pack(os.waitstatus_to_exitcode(status)))


def take_over(descriptors: list[int]) -> None:
    """Replace the process's streams, arguments, umask, environment and folder by a request's."""
    *streams, file, reply = descriptors
    os.close(reply)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    with open(file, "rb") as pickled:
        request = Request(*pickle.load(pickled))
    sys.argv = request.arguments
    os.umask(request.umask)
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(sys.executable))  # as for the script `prov`
    import_modules()
    gc.collect()
    gc.freeze()  # the children's collector neither visits nor copies this process's objects
    serve(socket.socket(fileno=int(sys.argv[1])))
    from prov_cli.app import main

    try:
        main()
    except SystemExit as ended:
        atexit._run_exitfuncs()
        # Python would write to, and so copy, the memory of all modules to free their objects
        os._exit(ended.code if isinstance(ended.code, int) else 3)
