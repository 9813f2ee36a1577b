"""The store: a bare git repository with an additional folder `prov/` for caches.

All data are in objects and refs. The folder `prov/` contains stat caches, pool files and locks; if
you delete it, prov creates it again, which only takes time.
"""

from __future__ import annotations

import re
from pathlib import Path

from prov.errors import StoreError
from prov.files import drop_default_acl, make_folder, replace_file, sync_directory
from prov.store.git import git_program
from prov.store.odb import ObjectDatabase
from prov.store.refs import HEAD, RefStore
from prov.store.view import read_setting

FORMAT = "1"

# gc.auto, maintenance.auto, preciousObjects: `git gc` must not delete objects before prov sets a
# ref to them. fsync: a ref must be durable before prov reports its task as done.
_CONFIGURATION = f"""\
[core]
	repositoryformatversion = 1
	bare = true
	filemode = true
	fsync = all
	logallrefupdates = false
[extensions]
	preciousObjects = true
[gc]
	auto = 0
[maintenance]
	auto = false
[prov]
	format = {FORMAT}
"""
_CREATE = "run `prov init` to create a store"
_HEAD = re.compile(rb"(ref: refs/\S+|[0-9a-f]{40})\n")


def _is_made(path: Path) -> bool:
    try:
        return read_setting(path, "prov.format") is not None
    except (FileNotFoundError, NotADirectoryError):
        return False


class Store:
    """An open store: its objects, its refs, and its cache folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.objects = ObjectDatabase(path)
        self.refs = RefStore(path, self.objects)
        self.cache = path / "prov"

    @staticmethod
    def create(path: Path) -> Store:
        """Create an empty store, or open an existing one.

        This does not use `git init`, which syncs no folders and cannot resume an interrupted run.
        Raises StoreError, for a new store also without a usable git.
        """
        if path.exists() and not path.is_dir():
            raise StoreError(f"{path} is not a directory", hint="move it away, or use another path")
        if not _is_made(path):
            git_program()
            for folder in (
                "objects/pack",
                "objects/info",
                "refs/heads",
                "refs/tags",
                "info",
                "prov",
            ):
                make_folder(path / folder)
                # also if an interrupted run has created the folder
                sync_directory((path / folder).parent)
            drop_default_acl(path / "prov")
            sync_directory(path)
            sync_directory(path.parent)
            if not _HEAD.fullmatch(
                (path / "HEAD").read_bytes() if (path / "HEAD").exists() else b""
            ):
                replace_file(path / "HEAD", HEAD)
            with ObjectDatabase(path).writer() as writer:
                writer.write_empty_tree()
            # last: a store without a config is incomplete
            replace_file(path / "config", _CONFIGURATION.encode())
        return Store.open(path)

    @staticmethod
    def open(path: Path) -> Store:
        """Open a store. Raises StoreError if there is no store, or if its format is unknown."""
        try:
            store_format = read_setting(path, "prov.format")
        except OSError as error:
            raise StoreError(f"no store at {path}", hint=_CREATE) from error
        if store_format is None:
            raise StoreError(f"{path} is a git repository but not a prov store", hint=_CREATE)
        if store_format != FORMAT:
            raise StoreError(
                f"the store at {path} has unknown format {store_format[:20]!r}",
                hint="update prov",
            )
        return Store(path)
