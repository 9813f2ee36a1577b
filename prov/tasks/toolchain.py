"""Capture the host tools that a task may use as a tree, which is an input of the task.

A task names host tools. dpkg's lists determine the files: those of the packages that own the tools,
and of these packages' dependencies. The files form one tree, the `host-toolchain`. Its id is part
of the task's hash, and in a sandbox the tree is the task's root directory. Captures are cached by
file: if nothing changed, a capture costs one lstat for each file.

Without dpkg, or for a tool that belongs to no package, the files are the program and its linked
libraries, and for a compiler also its own folder and the system's headers.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import BuildError
from prov.files import locked, read_cache, write_cache
from prov.records.ids import TreeId
from prov.records.refs import ToolchainRef
from prov.store.objects import CONSTANT_IDENTITY, Commit, Oid
from prov.store.odb import ObjectWriter
from prov.store.packs import STREAM_CHUNK, blob_id_of_stream
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import FileNode, Listing, Pair, write_listing
from prov.worktree.checkout import checkout
from prov.worktree.pool import GUARDED, Pool

DPKG_STATUS = Path("/var/lib/dpkg/status")
DPKG_LISTS = Path("/var/lib/dpkg/info")
LEFT_OUT = (
    "/usr/share/doc/",
    "/usr/share/man/",
    "/usr/share/info/",
    "/usr/share/locale/",
    "/usr/share/lintian/",
)
CACHE_FORMAT = 1
_COMPILERS = ("gcc", "g++", "cc", "c++", "cpp", "clang", "clang++")
_OPTIONAL = "?"


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A captured set of host tools."""

    tree: Oid
    programs: tuple[tuple[str, str], ...]
    """Name and path on the host of each tool."""


@dataclass(slots=True)
class Toolchains:
    """Captures sets of host tools and places them on disk for sandboxes."""

    store: Store
    search_path: str
    report: Callable[[str], object] = lambda _text: None
    """Called with a line of text before the first capture, which takes seconds."""
    _reported: bool = False
    _known: dict[tuple[str, ...], Toolchain] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.store.cache / "toolchains"

    def capture(self, tools: tuple[str, ...], asker: str) -> Toolchain:
        """Return the toolchain with these tools.

        Raises BuildError, naming `asker`, if a tool is not installed.
        """
        toolchain = self._known.get(tools)
        if toolchain is None:
            toolchain = self._known[tools] = self._capture(tools, asker)
        return toolchain

    def _capture(self, tools: tuple[str, ...], asker: str) -> Toolchain:
        programs = []
        for tool in sorted(set(tools)):
            name = tool.removesuffix(_OPTIONAL)
            program = shutil.which(name, path=self.search_path)
            if program is not None:
                programs.append((os.path.basename(name), program))
            elif name == tool:
                raise BuildError(
                    f"{asker}: the host tool {name} is not installed", hint=f"install {name}"
                )
        return Toolchain(self._tree_of(programs), tuple(programs))

    def check_current(self, toolchain: Toolchain, asker: str) -> None:
        """Raise BuildError if the host's programs differ from the captured ones.

        A task without a sandbox uses the host's programs, so they must match its hash.
        """
        with contextlib.suppress(OSError):
            if self._tree_of(list(toolchain.programs)) == toolchain.tree:
                return
        raise BuildError(
            f"{asker}: the host tools on this machine differ from the recorded ones",
            hint="install bubblewrap and run in the sandbox, which provides the recorded tools",
        )

    def _tree_of(self, programs: Sequence[tuple[str, str]]) -> Oid:
        memory = self.folder / f"{hashlib.sha1(repr(programs).encode()).hexdigest()}.files"
        tree = self._recall(memory)
        if tree is None:
            with locked(self.store.cache / "locks" / "toolchain"):
                tree = self._recall(memory) or self._record(programs, memory)
        return tree

    def _record(self, programs: Sequence[tuple[str, str]], memory: Path) -> Oid:
        files = toolchain_files([path for _, path in programs])
        if not self._reported:
            self._reported = True
            self.report(
                f"recording {len(files)} files of host tools; later builds read only changed ones"
            )
        states = [_state(path) for path in files]
        with self.store.objects.writer() as writer:
            pair = _write_files(writer, files)
            commit = writer.add_commit(Commit(pair.tree, (), CONSTANT_IDENTITY, "host-toolchain\n"))
        self.store.refs.update(RefUpdate(str(ToolchainRef(TreeId(pair.tree))), commit))
        memory.parent.mkdir(parents=True, exist_ok=True)
        cached = (CACHE_FORMAT, _dpkg_stamp(), pair.tree, list(zip(files, states, strict=True)))
        write_cache(memory, cached)
        return pair.tree

    def remembered(self) -> set[Oid]:
        """Return the trees of this host's last captures."""
        cached = (read_cache(path) for path in self.folder.glob("*.files"))
        return {row[2] for row in cached if row is not None and row[0] == CACHE_FORMAT}

    def _recall(self, memory: Path) -> Oid | None:
        cached = read_cache(memory)
        if cached is None:
            return None
        form, stamp, tree, files = cached
        if form != CACHE_FORMAT or stamp != _dpkg_stamp() or not self.store.objects.exists(tree):
            return None
        try:
            return tree if all(_state(path) == state for path, state in files) else None
        except OSError:
            return None

    def root(self, toolchain: Toolchain) -> Path:
        """Place a toolchain on disk, by hardlinks from the pool; return the folder.

        Sandboxes use the folder as their root directory.
        """
        folder = self.folder / toolchain.tree.hex()
        if not folder.exists():
            with locked(self.store.cache / "locks" / "toolchain"):
                if not folder.exists():
                    temporary = folder.with_suffix(".tmp")
                    shutil.rmtree(temporary, ignore_errors=True)
                    pool = Pool(self.store.cache / GUARDED, self.store.objects)
                    checkout(self.store.objects, temporary, Pair(toolchain.tree, None), placer=pool)
                    temporary.rename(folder)
        return folder

    def links(self, toolchain: Toolchain) -> Path:
        """Return a folder with a link to each tool, for a task's PATH."""
        folder = self.folder / f"{hashlib.sha1(repr(toolchain.programs).encode()).hexdigest()}.bin"
        if not folder.exists():
            with locked(self.store.cache / "locks" / "toolchain"):
                if not folder.exists():
                    temporary = folder.with_suffix(".tmp")
                    shutil.rmtree(temporary, ignore_errors=True)
                    temporary.mkdir(parents=True)
                    for name, path in toolchain.programs:
                        (temporary / name).symlink_to(path)
                    temporary.rename(folder)
        return folder


def _dpkg_stamp() -> int:
    try:
        return DPKG_STATUS.stat().st_mtime_ns
    except OSError:
        return 0


def _state(path: str) -> tuple[int, int, int, int, int]:
    state = os.lstat(path)
    return state.st_mode, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def toolchain_files(programs: Iterable[str]) -> list[str]:
    """Return the sorted paths of all files and links that programs consist of or depend on."""
    paths: set[str] = set()
    owned: set[str] = set()
    for program in programs:
        chain = _link_chain(program)
        paths.update(chain)
        owner = _owner(chain[-1])
        if owner is None:
            paths.update(_unpackaged(chain[-1]))
        else:
            owned.add(owner)
        owned.update(filter(None, map(_owner, chain[:-1])))
    for package in _dependencies(owned):
        paths.update(_package_files(package))
    for top in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        if os.path.islink(top):
            paths.add(top)
    return sorted(path for path in paths if not path.startswith(LEFT_OUT))


def _real_parent(path: str) -> str:
    """Return a path with links in its folders resolved: /bin/sh becomes /usr/bin/sh."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _link_chain(path: str) -> list[str]:
    chain = [_real_parent(path)]
    while os.path.islink(chain[-1]):
        target = os.path.join(os.path.dirname(chain[-1]), os.readlink(chain[-1]))
        chain.append(_real_parent(os.path.normpath(target)))
    return chain


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={"LC_ALL": "C", "PATH": os.defpath},
        )
    except OSError:
        return ""
    return done.stdout


_owners: dict[str, str] = {}


def _owner(path: str) -> str | None:
    """Return the dpkg package that owns a file."""
    if not _owners and DPKG_LISTS.is_dir():
        for listing in DPKG_LISTS.glob("*.list"):
            package = listing.name.removesuffix(".list")
            for line in listing.read_text(errors="surrogateescape").splitlines():
                _owners[line] = package
    # a package older than the merge of / and /usr may list /bin/sh
    return _owners.get(path) or _owners.get(path.removeprefix("/usr"))


def _package_files(package: str) -> Iterable[str]:
    text = (DPKG_LISTS / f"{package}.list").read_text(errors="surrogateescape")
    for line in text.splitlines():
        path = _real_parent(line)
        try:
            kind = os.lstat(path).st_mode
        except OSError:
            continue  # not installed, as documentation often is
        if stat.S_ISREG(kind) or stat.S_ISLNK(kind):
            yield path


def _dependencies(packages: set[str]) -> set[str]:
    """Return installed packages with their dependencies, transitively.

    Of the recommended packages, include only headers (`-dev`): gcc recommends the C library's and
    cannot compile anything without them.
    """
    if not packages:
        return set()
    installed = list(_installed())
    providers: dict[str, str] = {}
    for package in installed:
        for name in (package.name, package.plain_name, *package.provides):
            providers.setdefault(name, package.name)
    needs = {package.name: package.needs for package in installed}
    closure: set[str] = set()
    pending = [
        providers.get(name, providers.get(name.partition(":")[0], name)) for name in packages
    ]
    while pending:
        name = pending.pop()
        if name in closure or name not in needs:
            continue
        closure.add(name)
        pending += [providers[need] for need in needs[name] if need in providers]
    lists = {path.name.removesuffix(".list") for path in DPKG_LISTS.glob("*.list")}
    plain = {name.partition(":")[0] for name in closure}
    return (closure | plain) & lists


@dataclass(frozen=True, slots=True)
class _Package:
    name: str
    """The name in dpkg, such as `libc6:amd64`."""
    provides: list[str]
    needs: list[str]

    @property
    def plain_name(self) -> str:
        return self.name.partition(":")[0]


def _installed() -> Iterator[_Package]:
    """Yield the installed packages."""
    form = "${binary:Package}\t${Status}\t${Provides}\t${Pre-Depends}, ${Depends}\t${Recommends}\n"
    for line in _run("dpkg-query", "--show", f"--showformat={form}").splitlines():
        name, status, provides, depends, recommends = line.split("\t")
        if status.endswith(" installed"):
            headers = [need for need in _alternatives(recommends) if need.endswith("-dev")]
            yield _Package(name, _alternatives(provides), [*_alternatives(depends), *headers])


def _alternatives(field: str) -> list[str]:
    return [
        name
        for name in (re.sub(r"[\s(:\[<].*", "", part.strip()) for part in re.split("[,|]", field))
        if name
    ]


def _unpackaged(program: str) -> Iterable[str]:
    """Yield the files needed by a program without a package: libraries, and a compiler's files."""
    for library in re.findall(r"(/\S+) \(0x", _run("ldd", program)):
        yield from _link_chain(library)
    if os.path.basename(program).rpartition("-")[2].rstrip("0123456789.") in _COMPILERS or (
        os.path.basename(program).split("-")[0] in _COMPILERS
    ):
        for own in (
            _run(program, "-print-file-name=include").strip(),
            _run(program, "-print-prog-name=cc1").strip(),
        ):
            folder = os.path.dirname(own)
            if os.path.isabs(folder):
                yield from _below(folder)
        yield from _below("/usr/include")


def _below(folder: str) -> Iterable[str]:
    for path, _folders, files in os.walk(os.path.realpath(folder)):
        yield from (os.path.join(path, name) for name in files)


def _write_files(writer: ObjectWriter, paths: Sequence[str]) -> Pair:
    """Write a tree with these absolute paths, with git's modes and without owners and setuid."""
    root: dict[bytes, object] = {}
    for path in paths:
        *folders, name = os.fsencode(path).strip(b"/").split(b"/")
        inside = root
        for folder in folders:
            below = inside.setdefault(folder, {})
            if not isinstance(below, dict):
                break  # the folder is a link; its files are listed under the target's path
            inside = below
        else:
            inside.setdefault(name, path)
    return _write_folder(writer, root)


def _write_folder(writer: ObjectWriter, folder: dict[bytes, object]) -> Pair:
    listing: Listing = {}
    for name, inside in folder.items():
        if isinstance(inside, dict):
            listing[name] = FileNode(stat.S_IFDIR | 0o755, pair=_write_folder(writer, inside))
        elif isinstance(inside, str):
            state = os.lstat(inside)
            if stat.S_ISLNK(state.st_mode):
                listing[name] = FileNode(
                    stat.S_IFLNK | 0o777, writer.add("blob", os.readlink(os.fsencode(inside)))
                )
            else:
                mode = stat.S_IFREG | (0o755 if state.st_mode & 0o111 else 0o644)
                listing[name] = FileNode(mode, _write_file(writer, inside, state.st_size))
    return write_listing(writer, listing, mtimes=False)


def _write_file(writer: ObjectWriter, path: str, size: int) -> Oid:
    with open(path, "rb") as stream:
        if size < STREAM_CHUNK:
            return writer.add_blob(stream.read())
        oid = blob_id_of_stream(stream, size)
        stream.seek(0)
        if not writer.add_blob_stream(oid, size, stream):
            raise BuildError(
                f"{path} changed while it was captured",
                hint="retry; if a package upgrade is running, wait until it has finished",
            )
    return oid
