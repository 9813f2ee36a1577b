"""The host's tools as an input: which files a task may use of the host, captured as a tree.

A task names host tools. The distribution's own lists say which files belong to them: the packages
that own the tools, and what those depend on. The files become one tree, the `host-toolchain`; its
id is in the task's hash, and with bubblewrap the tree is what the task has for a root directory.
Capturing is remembered file by file; where nothing changed it costs an lstat each.

Where there is no dpkg, or a tool belongs to no package: the program, the libraries that it is
linked to, and for a compiler its own folder and the system's headers.
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
    """A captured set of host tools: its tree, and where each tool is on the host."""

    tree: Oid
    programs: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Toolchains:
    """Captures sets of host tools and puts them on disk for a sandbox."""

    store: Store
    search_path: str
    report: Callable[[str], object] = lambda _text: None
    """Gets a line when a capture begins that takes seconds."""
    _known: dict[tuple[str, ...], Toolchain] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.store.cache / "toolchains"

    def capture(self, tools: tuple[str, ...], asker: str) -> Toolchain:
        """Return the toolchain with these tools.

        Raises BuildError, naming `asker`, when one is not installed.
        """
        known = self._known.get(tools)
        if known is None:
            known = self._known[tools] = self._capture(tools, asker)
        return known

    def _capture(self, tools: tuple[str, ...], asker: str) -> Toolchain:
        programs = []
        for tool in sorted(set(tools)):
            name = tool.removesuffix(_OPTIONAL)
            found = shutil.which(name, path=self.search_path)
            if found is not None:
                programs.append((os.path.basename(name), found))
            elif name == tool:
                raise BuildError(
                    f"{asker} needs the host tool {name}, which is not installed", hint="install it"
                )
        return Toolchain(self._tree_of(programs), tuple(programs))

    def check_current(self, toolchain: Toolchain, asker: str) -> None:
        """Raise BuildError unless the host's programs are those that were captured: without a
        sandbox it is they that a task gets, and its hash must not tell of others.
        """
        with contextlib.suppress(OSError):
            if self._tree_of(list(toolchain.programs)) == toolchain.tree:
                return
        raise BuildError(
            f"the host tools that {asker} had are not those of this host any more",
            hint="in a sandbox it gets the recorded ones: install bubblewrap, and build in it",
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
        self.report(
            f"recording {len(files)} files of the host's tools; unchanged ones are not read again"
        )
        states = [_state(path) for path in files]
        with self.store.objects.writer() as writer:
            pair = _write_files(writer, files)
            commit = writer.add_commit(Commit(pair.tree, (), CONSTANT_IDENTITY, "host-toolchain\n"))
        self.store.refs.update(RefUpdate(str(ToolchainRef(TreeId(pair.tree))), commit))
        memory.parent.mkdir(parents=True, exist_ok=True)
        found = (CACHE_FORMAT, _dpkg_stamp(), pair.tree, list(zip(files, states, strict=True)))
        write_cache(memory, found)
        return pair.tree

    def remembered(self) -> set[Oid]:
        """Return the trees of the sets that this host has, as they were captured last."""
        kept = (read_cache(path) for path in self.folder.glob("*.files"))
        return {each[2] for each in kept if each is not None and each[0] == CACHE_FORMAT}

    def _recall(self, memory: Path) -> Oid | None:
        kept = read_cache(memory)
        if kept is None:
            return None
        form, stamp, tree, files = kept
        if form != CACHE_FORMAT or stamp != _dpkg_stamp() or not self.store.objects.exists(tree):
            return None
        try:
            return tree if all(_state(path) == state for path, state in files) else None
        except OSError:
            return None

    def root(self, toolchain: Toolchain) -> Path:
        """Put a toolchain on disk, by hardlinks from the pool, and return its folder: a root for
        sandboxes.
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
        """Return a folder with a link to each of the tools: what a task has for a PATH."""
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
    """Return the paths, sorted, of all files and links that these programs consist of, or depend
    on.
    """
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
    """Return the path with links among its folders resolved: /bin/sh is /usr/bin/sh."""
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
    # a package from before the merge of / and /usr may list /bin/sh
    return _owners.get(path) or _owners.get(path.removeprefix("/usr"))


def _package_files(package: str) -> Iterable[str]:
    text = (DPKG_LISTS / f"{package}.list").read_text(errors="surrogateescape")
    for line in text.splitlines():
        path = _real_parent(line)
        try:
            kind = os.lstat(path).st_mode
        except OSError:
            continue  # left out at installation, as documentation often is
        if stat.S_ISREG(kind) or stat.S_ISLNK(kind):
            yield path


def _dependencies(packages: set[str]) -> set[str]:
    """Return installed packages with all that they depend on.

    Of what they recommend only headers (`-dev`): gcc recommends the C library's, and compiles
    nothing without them.
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
    """As dpkg has it, such as `libc6:amd64`."""
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
    """Yield what a program that belongs to no package needs: the libraries that it names, a
    compiler's own files.
    """
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
    """Write a tree that holds these absolute paths; permissions are git's, owners and setuid bits
    are left out.
    """
    root: dict[bytes, object] = {}
    for path in paths:
        *folders, name = os.fsencode(path).strip(b"/").split(b"/")
        inside = root
        for folder in folders:
            below = inside.setdefault(folder, {})
            if not isinstance(below, dict):
                break  # a folder that is a link to another one, where the files are
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
                hint="is a package being upgraded? try again then",
            )
    return oid
