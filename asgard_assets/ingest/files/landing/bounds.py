"""Nothing outside of the landing root is listed, opened, moved or deleted, wherever a link leads.

Whoever may drop files may drop links. What was opened is asked where it lies, so that a folder or file that is swapped
for a link between two looks is refused as well.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from asgard_assets.errors import SourceError

_F_GETPATH = 50  # macOS
_PLACE = getattr(os, "O_PATH", 0)  # Linux


def inside(real_root: str, real_path: str) -> bool:
    """Whether a path lies in the root; both as `os.path.realpath` gives them."""
    return f"{real_path}/".startswith(f"{real_root.rstrip('/')}/")


def leads_out(real_root: str, full: str) -> bool:
    """Whether something is there and lies outside of the root."""
    return not inside(real_root, os.path.realpath(full)) and os.path.exists(full)


def outside(root: str, path: str) -> SourceError:
    """The error for a path that leads out of the root."""
    return SourceError(
        f"{path} is or passes a link that leads out of the landing root, to {os.path.realpath(f'{root}/{path}')}; it is "
        f"not followed. Put the data itself there, or link to something below {root}",
        source=path,
    )


def open_inside(root: str, path: str, flags: int = 0) -> int:
    """A descriptor of what lies at `path`. Raises SourceError where that is outside of the root, else OSError."""
    # Without waiting: a file may have been swapped for a pipe.
    how = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags
    if not _PLACE:
        if leads_out(os.path.realpath(root), f"{root}/{path}"):
            raise outside(root, path)
        opened = os.open(f"{root}/{path}", how)
        if inside(os.path.realpath(root), _place_of(opened)):
            return opened
        os.close(opened)
        raise outside(root, path)
    with _placed(root) as above, _placed(f"{root}/{path}") as found:
        if not inside(_place_of(above), _place_of(found)):
            raise outside(root, path)
        try:
            return os.open(f"/proc/self/fd/{found}", how)
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"{root}/{path}") from None


def stat_inside(root: str, path: str) -> os.stat_result | None:
    """What is at `path`; None where it lies outside of the root. Raises OSError where nothing is there."""
    if not _PLACE:
        full = f"{root}/{path}"
        return None if leads_out(os.path.realpath(root), full) else os.stat(full)
    with _placed(root) as above, _placed(f"{root}/{path}") as found:
        return os.fstat(found) if inside(_place_of(above), _place_of(found)) else None


@contextmanager
def _placed(path: str) -> Iterator[int]:
    """A descriptor that says where something lies, links followed, and opens nothing."""
    descriptor = os.open(path, _PLACE | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _place_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:  # no /proc
        import fcntl

        return os.fsdecode(fcntl.fcntl(descriptor, _F_GETPATH, bytes(1024)).rstrip(b"\0"))


@contextmanager
def opened_folder(root: str, path: str, create: bool = False) -> Iterator[int]:
    """A descriptor of the folder, for the `dir_fd` of the system's calls. Raises as `open_inside`."""
    if create:
        parts = [part for part in path.split("/") if part]
        for depth, part in enumerate(parts):
            with opened_folder(root, "/".join(parts[:depth])) as above, suppress(FileExistsError):
                os.mkdir(part, dir_fd=above)
    folder = open_inside(root, path, os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def move(root: str, path: str, target: str) -> None:
    """Move a file inside the root, to another file system too. Raises as `open_inside`."""
    (folder, _, name), (target_folder, _, target_name) = path.rpartition("/"), target.rpartition("/")
    with opened_folder(root, folder) as here, opened_folder(root, target_folder, create=True) as there:
        try:
            os.rename(name, target_name, src_dir_fd=here, dst_dir_fd=there)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(root, path, f".{target_name}.part", there)
            os.rename(f".{target_name}.part", target_name, src_dir_fd=there, dst_dir_fd=there)
            os.unlink(name, dir_fd=here)


def _copy(root: str, path: str, name: str, folder: int) -> None:
    new = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with (
        os.fdopen(open_inside(root, path), "rb") as source,
        os.fdopen(os.open(name, new, 0o644, dir_fd=folder), "wb") as copy,
    ):
        shutil.copyfileobj(source, copy)
        copy.flush()
        seen = os.fstat(source.fileno())
        os.utime(copy.fileno(), ns=(seen.st_atime_ns, seen.st_mtime_ns))


def remove(root: str, path: str) -> None:
    """Delete a file, or a link to one, inside the root. Raises as `open_inside`."""
    folder, _, name = path.rpartition("/")
    with opened_folder(root, folder) as here:
        os.unlink(name, dir_fd=here)
