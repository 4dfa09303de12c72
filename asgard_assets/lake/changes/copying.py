"""Folders of a store copied to another place or store, moved, and removed: whole tables, state, or all of a lake."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from asgard_assets.lake.store import Store

_CHUNK = 8 << 20


@dataclass(frozen=True)
class Size:
    """How much lies in a folder."""

    files: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.files:,} files, {self.bytes / 1e6:,.1f} MB"


def size(store: Store, folder: str) -> Size:
    found = list(_files(store, folder))
    return Size(len(found), sum(each[1] for each in found))


def names_in(store: Store, folder: str) -> list[str]:
    """Paths of all files in a folder, relative to it."""
    return [path[len(folder) :].lstrip("/") for path, _ in _files(store, folder)]


def put_file(store: Store, path: str, file: Path) -> None:
    """Write a local file into the store."""
    with file.open("rb") as source, store.whole(store.address(path)) as sink:
        while chunk := source.read(_CHUNK):
            sink.write(chunk)


def exists(store: Store, path: str) -> bool:
    """Whether there is a file, or a folder with one in it, at the path."""
    return next(_files(store, path), None) is not None


def copy(store: Store, folder: str, to_store: Store, to: str, only: Iterable[str] | None = None) -> Size:
    """Copy what is not there yet in the same size. The log of a table comes last, in order: who reads the copy meanwhile
    finds an older version, and no broken one. `only`: of these paths in the folder."""
    chosen = None if only is None else set(only)
    there = {path: length for path, length in _files(to_store, to)}
    files = bytes_ = 0
    for path, length in sorted(
        _files(store, folder), key=lambda each: ("/_delta_log/" in f"/{each[0]}", each[0])
    ):
        target = f"{to}/{path[len(folder) :].lstrip('/')}".strip("/")
        if chosen is not None and path[len(folder) :].lstrip("/") not in chosen:
            continue
        # What is written again under its name is small; all else never changes once it is there.
        if there.get(target) == length and (path.endswith(".parquet") or "/_delta_log/" in f"/{path}"):
            continue
        _copy_file(store, path, to_store, target)
        files, bytes_ = files + 1, bytes_ + length
    return Size(files, bytes_)


def move(store: Store, folder: str, to: str) -> None:
    """Move a folder or a file within a store: at once on a disk, by copies and then the removal on an object store."""
    if not store.remote:
        target = store.address(to)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(store.address(folder), target)
        return
    copy(store, folder, store, to)
    remove(store, folder)


def remove(store: Store, folder: str) -> None:
    """Remove a folder or a file. Of a table the log goes first: nobody reads half of one."""
    files = sorted(_files(store, folder), key=lambda each: "/_delta_log/" not in f"/{each[0]}")
    for path, _ in files:
        store.delete(path)
    if not store.remote and os.path.isdir(store.address(folder)):
        import shutil

        shutil.rmtree(store.address(folder))


def _files(store: Store, folder: str) -> Iterator[tuple[str, int]]:
    """Every file in the folder, or the one file at that path, with its size. What is still being written is left out."""
    from pyarrow import fs as pafs

    root = store.root.rstrip("/")
    address = f"{root}/{folder}".rstrip("/")
    filesystem = store.filesystem
    found = (
        filesystem.get_file_info(pafs.FileSelector(address, recursive=True, allow_not_found=True))
        if filesystem.get_file_info(address).type != pafs.FileType.File
        else [filesystem.get_file_info(address)]
    )
    for info in found:
        if info.type == pafs.FileType.File and not (not store.remote and info.base_name.startswith(".")):
            yield info.path[len(root) + 1 :], info.size


def _copy_file(store: Store, path: str, to_store: Store, target: str) -> None:
    with (
        store.filesystem.open_input_stream(store.address(path), compression=None) as source,
        to_store.whole(to_store.address(target)) as sink,
    ):
        while chunk := source.read(_CHUNK):
            sink.write(chunk)
