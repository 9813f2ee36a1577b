"""Real servers on loopback, with the commands and configuration from docs/servers.md.

`tests.servers.fixtures` has a fixture for each server, available to all tests, and explains their
use.
"""
