"""Whole files: whoever reads one finds the old content or the new, never a part.

Content goes to a file of its own beside the target, `.numq-<16 hex digits>.partial`, which is then
renamed. A writer holds a lock on its partial file; one that nobody holds is left from a process
that was killed, and whoever writes to the folder next removes it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from numq.arrays import check_type

_PARTIAL = re.compile(r"\.numq-[0-9a-f]{16}\.partial")
_NOT_WAITING = getattr(os, "O_NONBLOCK", 0)  # for the other end of a pipe
_CLOSED_ON_EXEC = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


def as_path(path: str | os.PathLike[str]) -> Path:
    """`path` as a Path.

    Raises:
        TypeError: neither text nor a path.
        ValueError: text that names no file: empty, or with a zero byte.
    """
    check_type(path, str | os.PathLike, "path")
    text = os.fspath(path)
    check_type(text, str, "path")
    if not text or "\0" in text:
        raise ValueError(
            f"path is {text[:100]!r}; allowed is the name of a file, without zero bytes"
        )
    return Path(text)


def read_whole(path: str | os.PathLike[str]) -> bytes:
    """The content of a regular file, symbolic links followed.

    Raises:
        OSError: a file that is missing, no regular file, or may not be read; names the path.
    """
    file = as_path(path)
    try:
        _check_regular(file, file.stat())
        return file.read_bytes()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error


def write_whole(path: str | os.PathLike[str], content: bytes) -> int:
    """Write a file, whole or not at all; returns its bytes.

    A symbolic link stays and its target is written. A file that exists keeps its permissions and
    its owner, a new one gets what the umask leaves. Nothing is left behind by an error.

    Raises:
        OSError: a missing folder, a folder or device in the file's place, no permission, no room;
            names the path.
    """
    given = as_path(path)
    try:
        target = Path(os.path.realpath(given))
        found = _found(target)
        _remove_stale(target.parent)
        _replace(target, content, found)
    except OSError as error:
        # What fails on the way names a partial file, another path, or none at all.
        raise OSError(error.errno, error.strerror or str(error), str(given)) from error
    return len(content)


def _found(target: Path) -> os.stat_result | None:
    """The file that stands there, which may be written; None where nothing does."""
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"the folder {target.parent} is missing")
    try:
        found = target.stat()
    except FileNotFoundError:
        return None
    _check_regular(target, found)
    os.close(os.open(target, os.O_WRONLY))  # what may not be written may not be replaced
    return found


def _check_regular(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "the path is a folder", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "the path is a device or pipe; allowed is a file", str(path))


def _replace(target: Path, content: bytes, found: os.stat_result | None) -> None:
    mode = 0o666 if found is None else stat.S_IMODE(found.st_mode) & 0o777
    handle, partial = _partial(target.parent, mode)
    try:
        partial.write_bytes(content)
        if found is not None:
            with suppress(PermissionError):  # only root gives a file away
                os.chown(partial, found.st_uid, found.st_gid)
            partial.chmod(mode)
        os.fsync(handle)
        partial.replace(target)  # still locked: nobody takes it for a stale one
    finally:
        os.close(handle)
        partial.unlink(missing_ok=True)


def _partial(folder: Path, mode: int) -> tuple[int, Path]:
    """A new file that only this call writes to, open and locked."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | _CLOSED_ON_EXEC
    while True:
        path = folder / f".numq-{secrets.token_hex(8)}.partial"
        handle = os.open(path, flags, mode)
        _lock(handle, wait=True)
        # Between creation and lock another process may have taken it for a stale one.
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(handle)):
                return handle, path
        os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool:
    """Whether the file is now locked; False where the system or the file system has no locks."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _remove_stale(folder: Path) -> None:
    """Remove the partial files that no process holds."""
    with suppress(OSError), os.scandir(folder) as entries:
        stale = [entry.path for entry in entries if _PARTIAL.fullmatch(entry.name)]
        for path in stale:
            _remove_unless_locked(path)


def _remove_unless_locked(path: str) -> None:
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | _NOT_WAITING | _CLOSED_ON_EXEC)
        try:
            if _lock(handle, wait=False):
                os.unlink(path)
        finally:
            os.close(handle)
