"""Find the paths that a traced system call uses, and the names that it changes."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field

from prov.reads.calls import Call, PathArgument, described
from prov.reads.namespace import Before, Namespace, Resolved
from prov.reads.uses import Trace

_FILE = Before(stat.S_IFREG)
_FOLDER = Before(stat.S_IFDIR)
_OTHER = Before(stat.S_IFIFO)
_MISSING = frozenset(("ENOENT", "ENOTDIR"))
_HARMLESS_DEVICES = frozenset(
    b"/dev/" + name for name in (b"null", b"zero", b"full", b"random", b"urandom")
)
_OF_PROCESS = re.compile(rb"/proc/(?:self|thread-self|\d+)/(?:exe|maps|fd(?:/.*)?)")
"""Files that show only what the trace contains anyway, and random addresses."""
KERNEL_FILES = re.compile(
    rb"/proc/(?:filesystems|sys/.*)|/sys/devices/system/cpu/.*|/sys/kernel/mm/.*", re.DOTALL
)
"""Settings of the kernel, which have stable content but no valid times."""

LOOKS = {
    **dict.fromkeys(("stat", "stat64", "newfstatat", "fstatat64", "statx", "oldstat"), True),
    **dict.fromkeys(("access", "faccessat", "faccessat2", "statfs", "statfs64"), True),
    **dict.fromkeys(("getxattr", "listxattr", "inotify_add_watch", "name_to_handle_at"), True),
    **dict.fromkeys(("lstat", "lstat64", "oldlstat", "lgetxattr", "llistxattr"), False),
    **dict.fromkeys(("readlink", "readlinkat"), False),
}
"""Calls that inspect one path, and whether they follow a link at its end."""
OPENS = frozenset(("open", "openat", "openat2", "creat"))
_CREATIONS = {
    **dict.fromkeys(("mkdir", "mkdirat"), _FOLDER),
    **dict.fromkeys(("mknod", "mknodat"), _OTHER),
}
_REMOVALS = frozenset(("unlink", "unlinkat", "rmdir"))
_ALTERATIONS = {
    **dict.fromkeys(("chmod", "fchmodat", "fchmodat2", "chown", "chown32", "fchownat"), True),
    **dict.fromkeys(("utime", "utimes", "futimesat", "utimensat", "utimensat_time64"), True),
    **dict.fromkeys(("truncate", "truncate64", "setxattr", "removexattr"), True),
    **dict.fromkeys(("lchown", "lchown32", "lsetxattr", "lremovexattr"), False),
}
"""Calls that change an object at a path, and whether they follow a link at its end."""
_RENAMES = frozenset(("rename", "renameat", "renameat2"))
_LINKS = frozenset(("link", "linkat"))
_SYMLINKS = frozenset(("symlink", "symlinkat"))
CHANGES = frozenset((*_CREATIONS, *_REMOVALS, *_ALTERATIONS, *_RENAMES, *_LINKS, *_SYMLINKS))
"""Calls that change what is at a path."""
_HIDING = frozenset(
    (
        *("mount", "umount", "umount2", "pivot_root", "chroot", "unshare", "setns", "move_mount"),
        *("open_tree", "fsmount", "mount_setattr", "ptrace", "open_by_handle_at", "pidfd_getfd"),
    )
)
"""Calls after which paths or descriptors can mean anything."""
_EXCHANGING = frozenset(
    (
        *("shmget", "msgget", "semget", "mq_open", "process_vm_readv", "bpf", "perf_event_open"),
        *("fanotify_init", "fanotify_mark", "request_key", "quotactl", "swapon", "acct"),
    )
)
"""Calls that exchange data other than through files."""
_LOCAL_SOCKET = re.compile(rb"AF_UNIX, SOCK_(?:STREAM|SEQPACKET)")


@dataclass(frozen=True, slots=True)
class Caller:
    """The process or thread that makes a call."""

    folder: bytes
    """Its current folder, without links."""
    program: bytes = b""
    """The path of its program."""
    made: bool = False
    """Whether the command created the program."""


@dataclass(slots=True)
class FileCalls:
    """Adds the uses of each call to a trace."""

    names: Namespace
    trace: Trace
    self_opened: set[bytes] = field(default_factory=set)
    """Programs that the command created and that opened themselves, as scripts do."""

    def look(
        self, caller: Caller, argument: PathArgument, *, follow: bool = True
    ) -> Resolved | None:
        """Return the place that a path leads to, and add the links on the way."""
        folder = argument.base or caller.folder
        if not folder.startswith(b"/") and not argument.path.startswith(b"/"):
            return None
        place = self.names.find(folder, argument.path, follow=follow)
        self.use_links(place, caller.program)
        return place

    def use_links(self, place: Resolved, program: bytes) -> None:
        for origin in place.links:
            self.trace.add(origin, "l", program)

    def probe(
        self,
        call: Call,
        caller: Caller,
        argument: PathArgument,
        kinds: str = "s",
        *,
        follow: bool = True,
    ) -> Resolved | None:
        """Add a use that depends on what is at a path; return the place if there is something."""
        if not argument.path:
            return None  # it names a descriptor
        place = self.look(caller, argument, follow=follow)
        if place is None or self.is_special(place, call):
            return None
        node = place.node
        is_other = call.error == "ENOTDIR" and not place.is_missing and not node.is_directory
        if call.error in _MISSING and not is_other:
            if node.now is None and node.origin:
                self.trace.add(node.origin, "m", caller.program)
            elif node.made is None and node.origin:
                self.trace.hide(f"{shown(place.path)} changed while the command ran")
            return None
        if node.now is None:
            self.trace.hide(f"{shown(place.path)} appeared while the command ran")
            return None
        if node.made is None:
            self.trace.add(node.origin, kinds, caller.program)
        return place

    def is_special(self, place: Resolved, call: Call) -> bool:
        """Return whether the state of a path cannot be compared."""
        path = place.path
        if not path.startswith((b"/proc/", b"/dev/", b"/sys/")) or KERNEL_FILES.fullmatch(path):
            return False
        if path.startswith(b"/proc/"):
            if not call.error and not _OF_PROCESS.fullmatch(path):
                self.trace.doubt(f"the command uses {shown(path)}")
            return True
        if path in _HARMLESS_DEVICES:
            return True
        if path.startswith(b"/sys/") and not call.error and call.name in OPENS:
            self.trace.doubt(f"the command opens {shown(path)}")
        return False

    def call(self, call: Call, caller: Caller) -> None:
        """Add the uses of a call, except those that change the process."""
        name = call.name
        if name in LOOKS:
            follow = LOOKS[name] and b"AT_SYMLINK_NOFOLLOW" not in call.text
            if call.paths:
                kinds = "l" if name.startswith("readlink") and not call.error else "s"
                self.probe(call, caller, call.paths[0], kinds, follow=follow)
        elif name in OPENS:
            self.open(call, caller)
        elif name in ("getdents64", "getdents"):
            self.list(call, caller)
        elif name in CHANGES:
            self.change(call, caller)
        elif name in ("connect", "bind"):
            self.connect(call, caller)
        elif name in _HIDING:
            self.trace.hide(f"the command uses {name}")
        elif call.error:
            return
        elif name == "socket" and not _LOCAL_SOCKET.match(call.text):
            self.trace.doubt("the command opens a network socket")
        elif name in _EXCHANGING:
            self.trace.doubt(f"the command uses {name}")

    def list(self, call: Call, caller: Caller) -> None:
        folder = described(call.text)
        if folder.startswith(b"/"):
            self.probe(call, caller, PathArgument(None, folder), "d", follow=False)

    def enter(self, call: Call, caller: Caller) -> bytes:
        """Return the current folder after a call of chdir or fchdir."""
        if call.name == "fchdir":
            return described(call.text)
        place = self.probe(call, caller, call.paths[0])
        return place.path if place else caller.folder

    def open(self, call: Call, caller: Caller) -> None:
        """Add the use of a file by a call that opens it, or note that it created the file."""
        if not call.paths:
            return
        if b"RESOLVE_IN_ROOT" in call.text:
            self.trace.hide("the command uses RESOLVE_IN_ROOT")
        flags = _flags(call)
        follow = not flags & {"O_NOFOLLOW", "O_EXCL"}
        if "O_CREAT" in flags and not call.error:
            place = self.look(caller, call.paths[0], follow=follow)
            if place is not None and place.is_missing and not self.is_special(place, call):
                self.create(place, _FILE, caller, exclusive="O_EXCL" in flags)
                return
        if "O_CREAT" in flags and call.error in _MISSING:
            self.add_folder(self.look(caller, call.paths[0], follow=follow), caller)
        kinds = _kinds(call, flags)
        place = self.probe(call, caller, call.paths[0], kinds, follow=follow)
        if place is not None and not call.error and "O_PATH" not in flags:
            self.check_opened(call, caller, place)
            if place.node.made is None and "O_TRUNC" in flags:
                self.names.put(place, place.node._replace(made=_FILE))

    def check_opened(self, call: Call, caller: Caller, place: Resolved) -> None:
        """Note what an opened file says about the trace's completeness."""
        node = place.node
        if node.made is not None:
            if caller.made and caller.program == place.path:
                self.self_opened.add(place.path)
        elif node.before is not None and not _has_content(node.before):
            self.trace.doubt(f"the command opens {shown(place.path)}")
        if call.opened.startswith(b"/") and call.opened != place.path:
            self.trace.hide(f"{shown(call.opened)} was opened as {shown(place.path)}")

    def create(
        self, place: Resolved, made: Before, caller: Caller, *, exclusive: bool = False
    ) -> None:
        """Note that the command created an object."""
        self.written(place, caller)
        if place.node.origin and place.node.before is None:
            self.trace.uses[place.node.origin].exclusive |= exclusive
        self.names.make(place, made)

    def written(self, place: Resolved, caller: Caller, kinds: str = "w") -> None:
        """Note that the result depends on what was at a place before the command."""
        if place.node.origin and place.node.made is None:
            self.trace.add(place.node.origin, kinds, caller.program)
        self.add_folder(place, caller)

    def add_folder(self, place: Resolved | None, caller: Caller) -> None:
        """Add the use of the folder in which a call creates an entry, or fails without it."""
        if place is None:
            return
        folder = self.names.find(b"/", os.path.dirname(place.path))
        if folder.node.origin and folder.node.made is None:
            kinds = "m" if folder.is_missing else "s"
            self.trace.add(folder.node.origin, kinds, caller.program)

    def change(self, call: Call, caller: Caller) -> None:
        """Follow a call that changes what is at one or two paths."""
        if call.name in _RENAMES or call.name in _LINKS:
            self.move(call, caller)
        elif call.paths and call.paths[-1].path:
            if call.name in _ALTERATIONS:
                follow = _ALTERATIONS[call.name] and b"AT_SYMLINK_NOFOLLOW" not in call.text
                self.probe(call, caller, call.paths[0], "ow", follow=follow)
            elif call.name in _REMOVALS:
                self.remove(call, caller)
            elif call.error:
                self.probe(call, caller, call.paths[-1], follow=False)
                if call.error in _MISSING:
                    self.add_folder(self.look(caller, call.paths[-1], follow=False), caller)
            else:
                self.make(call, caller)

    def remove(self, call: Call, caller: Caller) -> None:
        """Follow a call that removes a name."""
        kinds = "s" if call.error else "w"
        if call.name == "rmdir" or b"AT_REMOVEDIR" in call.text:
            kinds = "dw"  # it must be empty
        place = self.probe(call, caller, call.paths[0], kinds, follow=False)
        if place is not None and not call.error:
            self.names.remove(place)

    def make(self, call: Call, caller: Caller) -> None:
        """Follow a call that creates a directory, a link, or another object without content."""
        made = _CREATIONS.get(call.name, _OTHER)
        if call.name in _SYMLINKS:
            made = Before(stat.S_IFLNK, call.paths[0].path)
        place = self.look(caller, call.paths[-1], follow=False)
        if place is not None:
            self.create(place, made, caller, exclusive=made is not _OTHER)

    def move(self, call: Call, caller: Caller) -> None:
        """Follow a call of rename or link."""
        if len(call.paths) < 2:
            return
        is_link = call.name in _LINKS
        follow = is_link and b"AT_SYMLINK_FOLLOW" in call.text
        source = self.look(caller, call.paths[0], follow=follow)
        target = self.look(caller, call.paths[1], follow=False)
        if source is None or target is None:
            return
        if call.error:
            for place in (source, target):
                self.written(place, caller, "m" if place.is_missing else "s")
            return
        if source.is_missing:
            self.trace.hide(f"{shown(source.path)} appeared while the command ran")
        if b"RENAME_EXCHANGE" in call.text:
            self.trace.hide("the command uses RENAME_EXCHANGE")
        self.moved(source, caller)
        if not target.is_missing and not is_link and source.node == target.node:
            return  # two names of one file
        self.written(target, caller)
        if target.node.is_directory:  # it must be empty
            self.written(target, caller, "d")
        if is_link:
            self.names.put(target, source.node)
        else:
            self.names.move(source, target)

    def moved(self, source: Resolved, caller: Caller) -> None:
        """Add the content of an object that got a new name: it is part of the result."""
        before = source.node.before
        if before is None or source.node.made is not None:
            return
        origin = source.node.origin
        self.trace.add(origin, "w" + content_kind(before), caller.program)
        if before.is_directory:
            for below, inner in self.names.below(origin):
                self.trace.add(below, content_kind(inner), caller.program)

    def connect(self, call: Call, caller: Caller) -> None:
        """Add the use of the path of a local socket."""
        if b"AF_UNIX" not in call.text:
            return  # opening the socket was noted
        if not call.paths or b"sun_path=@" in call.text:
            if not call.error:
                self.trace.doubt("the command connects to a socket without a path")
        elif call.name == "bind":
            place = self.look(caller, call.paths[0])
            if place is not None and not call.error:
                self.create(place, _OTHER, caller)
        else:
            place = self.probe(call, caller, call.paths[0])
            if place is not None and not call.error and place.node.made is None:
                self.trace.doubt(f"the command connects to {shown(place.path)}")


def content_kind(before: Before) -> str:
    """Return the use of an object with its content."""
    return "d" if before.is_directory else "o"


def _has_content(before: Before) -> bool:
    # files in /proc have no mode here
    return not before.mode or stat.S_ISREG(before.mode) or before.is_directory


_FLAGS = re.compile(rb"\bO_[A-Z_]+")


def _flags(call: Call) -> frozenset[str]:
    """Return the names of the flags of a call that opens a file."""
    if call.name == "creat":
        return frozenset(("O_WRONLY", "O_CREAT", "O_TRUNC"))
    after_path = call.text.rpartition(b'"')[2]
    return frozenset(map(bytes.decode, _FLAGS.findall(after_path)))


def _kinds(call: Call, flags: frozenset[str]) -> str:
    """Return the uses of a file by a call that opens it."""
    if call.error or flags & {"O_PATH", "O_TMPFILE"}:
        return "s"
    if "O_TRUNC" in flags:
        return "w"  # the old content has no effect
    return "ow" if flags & {"O_WRONLY", "O_RDWR"} else "o"


def shown(path: bytes) -> str:
    """Return a path as text for a message."""
    return os.fsdecode(path)
