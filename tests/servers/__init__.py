"""Real servers on loopback, with the very commands and configuration that docs/servers.md gives to users.

`tests.servers.fixtures` has a fixture for each. The functions behind them are context managers, for a fixture of
another scope: `daemon.git_daemon`, `ssh.ssh_server`, `http.http_server`, `static.static_server`, and `proxy.proxy`
before any.
"""
