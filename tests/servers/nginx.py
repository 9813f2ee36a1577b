"""nginx without root's folders: all it writes is in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.servers.process import Process, program

CONFIG = """\
{user}
daemon off;
worker_processes 1;
pid {private}/nginx.pid;
error_log stderr notice;
events {{}}
http {{
log_format prov '$request_method $request_uri $status $body_bytes_sent range=$http_range '
    'protocol=$http_git_protocol connection=$connection';
access_log {private}/access.log prov;
default_type application/octet-stream;
client_body_temp_path {private}/body;
fastcgi_temp_path {private}/fastcgi;
proxy_temp_path {private}/proxy;
uwsgi_temp_path {private}/uwsgi;
scgi_temp_path {private}/scgi;
{more}
}}
"""


def nginx(private: Path, more: Callable[[int], str]) -> Callable[[int], Process]:
    """Return what makes the process for a port; `more` gives what stands in `http` beside where
    files go.
    """
    found = program("nginx", "nginx-light")
    pid = private / "nginx.pid"

    def is_ready(said: str) -> bool:
        # Written when the port is taken, and removed at the end.
        return "start worker process" in said and pid.exists() and "emerg" not in said

    def make(port: int) -> Process:
        config = private / "nginx.conf"
        user = (
            "user root;" if os.geteuid() == 0 else ""
        )  # by itself www-data, who may not look into pytest's folders
        config.write_text(CONFIG.format(user=user, private=private, more=more(port)))
        command = [found, "-e", "stderr", "-p", str(private), "-c", str(config)]
        return Process(command, private / "nginx.log", is_ready)

    return make
