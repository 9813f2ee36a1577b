"""The machines and caches of tests of remotes."""

from tests.remote.conftest import built_once, folder_cache, machines

__all__ = ["built_once", "folder_cache", "machines"]
