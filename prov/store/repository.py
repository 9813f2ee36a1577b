"""The store: a bare git repository with `prov/` beside git's own folders for what can be made
again.

Everything that counts is objects and refs. `prov/` holds stat caches, pool files, locks: deleting
it costs time only.
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

# gc.auto, maintenance.auto, preciousObjects: nobody's `git gc` removes what no ref holds yet.
# fsync: a ref is durable before anyone reports what it stands for.
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
_HEAD = re.compile(rb"(ref: refs/\S+|[0-9a-f]{40})\n")


def _is_made(path: Path) -> bool:
    try:
        return read_setting(path, "prov.format") is not None
    except (FileNotFoundError, NotADirectoryError):
        return False


class Store:
    """An open store: its objects, its refs, and the folder for what can be made again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.objects = ObjectDatabase(path)
        self.refs = RefStore(path)
        self.cache = path / "prov"

    @staticmethod
    def create(path: Path) -> Store:
        """Make an empty store, or open the one that is there already.

        git is not asked to: it syncs no folder, and can't go on where it was interrupted. Raises
        StoreError.
        """
        if path.exists() and not path.is_dir():
            raise StoreError(
                f"{path} is no folder", hint="move it away, or name another place for the store"
            )
        if not _is_made(path):
            for folder in (
                "objects/pack",
                "objects/info",
                "refs/heads",
                "refs/tags",
                "info",
                "prov",
            ):
                make_folder(path / folder)
                sync_directory(
                    (path / folder).parent
                )  # also where one that was interrupted had made it
            drop_default_acl(path / "prov")
            sync_directory(path)
            sync_directory(path.parent)
            if not _HEAD.fullmatch(
                (path / "HEAD").read_bytes() if (path / "HEAD").exists() else b""
            ):
                replace_file(path / "HEAD", HEAD)
            with ObjectDatabase(path).writer() as writer:
                writer.write_empty_tree()
            # last, so that a store without it was interrupted while it was made
            replace_file(path / "config", _CONFIGURATION.encode())
        return Store.open(path)

    @staticmethod
    def open(path: Path) -> Store:
        """Open a store. Raises StoreError when there is none, or one of another format."""
        git_program()
        try:
            store_format = read_setting(path, "prov.format")
        except OSError as error:
            raise StoreError(f"no store at {path}", hint="`prov init` makes one") from error
        if store_format is None:
            raise StoreError(
                f"{path} is a git repository, but not a prov store", hint="`prov init` makes one"
            )
        if store_format != FORMAT:
            raise StoreError(
                f"the store at {path} has a format that this prov does not know", hint="update prov"
            )
        return Store(path)
