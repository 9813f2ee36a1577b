"""nginx with a folder of files, without git."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.docs import block
from tests.servers.nginx import nginx
from tests.servers.process import on_a_port
from tests.servers.server import Server


@contextmanager
def static_server(folder: Path, private: Path, *, ranges: bool = True) -> Iterator[Server]:
    """Serve the files of a folder; without `ranges`, a request for a range is answered with the
    whole file.
    """

    def config(port: int) -> str:
        changes = {"listen 80;": f"listen 127.0.0.1:{port};", "/srv/files": str(folder)}
        return ("" if ranges else "max_ranges 0;\n") + block("A folder of files", "nginx", changes)

    with on_a_port(nginx(private, config)) as (port, process):
        yield Server(
            folder=folder,
            base="http://127.0.0.1:{port}/",
            port=port,
            log=process.log,
            access=private / "access.log",
            processes=(process,),
        )
