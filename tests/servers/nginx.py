"""nginx that writes only to its own folder."""

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
    """Return a function that makes the process for a port; `more` returns the content of the `http`
    block, in addition to the paths.
    """
    found = program("nginx", "nginx-light")
    pid = private / "nginx.pid"

    def is_ready(said: str) -> bool:
        # nginx writes it when it has the port, and removes it at the end
        return "start worker process" in said and pid.exists() and "emerg" not in said

    def make(port: int) -> Process:
        config = private / "nginx.conf"
        user = (
            "user root;" if os.geteuid() == 0 else ""
        )  # the default user, www-data, cannot read pytest's folders
        config.write_text(CONFIG.format(user=user, private=private, more=more(port)))
        command = [found, "-e", "stderr", "-p", str(private), "-c", str(config)]
        return Process(command, private / "nginx.log", is_ready)

    return make
