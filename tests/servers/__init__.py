"""Real servers on loopback, with the very commands and configuration that docs/servers.md gives to
users.

`tests.servers.fixtures` has a fixture for each, known to all tests, and tells how to use them.
"""
