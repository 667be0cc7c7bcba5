"""Bringing a known data set onto this machine, and checking what is there."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from hpcdistill.data.dataset import Dataset
from hpcdistill.data.readers import load_dataset
from hpcdistill.data.readers.files import one_line, open_error
from hpcdistill.data.readers.locate import Located, by_hand, data_root, find_archive, locate
from hpcdistill.data.readers.reading import DEFAULT, Reading
from hpcdistill.data.registry import KnownDataset, Layout, is_own_file, is_own_folder, known_dataset
from hpcdistill.data.summary import describe
from hpcdistill.errors import DataError, StorageError
from hpcdistill.whole_file import whole_file

Report = Callable[[str], None]

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def prepare(
    name: str,
    root: str | os.PathLike | None,
    report: Report,
    reading: Reading = DEFAULT,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """Make a data set ready: check the files on disk, fetch and unpack what is missing, then read it all once.

    Args:
        name: a name from the registry, or the path of a user's own file or folder, which is only checked.
        root: as for `load_dataset`; missing files go to root/NAME.
        report: called with one line of text per finding.
        reading: how to read a user's own data.
        progress: is told how many pictures of how many are read.

    Returns:
        The data set.

    Raises:
        DataError: no network (the message says which files to put where, and their URLs), or unusable files.
        StorageError: root/NAME cannot be written. Not collective: call it in one process.
    """
    if is_own_file(name) or is_own_folder(name):
        return _described(load_dataset(name, root, reading, progress), report)
    known = known_dataset(name)
    if known.layouts:
        _complete(known, data_root(root), report)
    else:
        report(f"{name}: ships with a dependency, there is nothing to fetch")
    dataset = _described(load_dataset(name, root), report)
    report(f"licence: {known.licence}; cite: {known.citation}")
    return dataset


def _described(dataset: Dataset, report: Report) -> Dataset:
    for line in describe(dataset):
        report(line)
    return dataset


def md5_of(path: Path) -> str:
    """Return the MD5 of a file in hexadecimal.

    Raises:
        DataError: the file cannot be read. Not collective.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise open_error(path, error) from None


def _complete(known: KnownDataset, root: Path, report: Report) -> None:
    located = locate(known, root)
    if located.missing:
        if located.layout.folder:
            _unpack_archive(known, located, root, report)
        else:
            _fetch_files(known, located, root, report)
        located = locate(known, root)
    for path in located.paths.values():
        _report_checksum(path, located.layout, report)


def _report_checksum(path: Path, layout: Layout, report: Report) -> None:
    """Report whether a file is the published one."""
    published, found = layout.md5.get(path.name), md5_of(path)
    if published is None:
        report(f"{path}: found; no checksum is published for it")
    elif found == published:
        report(f"{path}: found, checksum ok")
    else:
        report(f"{path}: found, but not the published one (MD5 {found}, published {published}): repacked or damaged")


def _fetch_files(known: KnownDataset, located: Located, root: Path, report: Report) -> None:
    for name in located.layout.downloads:
        if name.removesuffix(".gz") in located.missing:
            _download(known, located, root, name, located.folder, report)


def _unpack_archive(known: KnownDataset, located: Located, root: Path, report: Report) -> None:
    archives = ((layout, find_archive(known, layout, root)) for layout in known.layouts)
    layout, archive = next(((layout, path) for layout, path in archives if path), (located.layout, None))
    if archive is None:
        archive = _download(known, located, root, layout.downloads[0], root / known.name, report)
    _report_checksum(archive, layout, report)
    _unpack(known, archive, layout)
    report(f"{archive}: unpacked into {archive.parent / layout.folder}")


def _download(known: KnownDataset, located: Located, root: Path, name: str, folder: Path, report: Report) -> Path:
    """Fetch one file from the first mirror that has it, or say how to do so by hand."""
    _make_folder(folder)
    failures = []
    for mirror in located.layout.mirrors:
        try:
            path = _retrieve(mirror + name, located.layout.md5[name], name, folder)
        except (OSError, ValueError) as error:
            if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno in NO_ROOM):
                raise _write_error(folder, error) from None
            failures.append(f"{mirror}{name}: {one_line(error)}")
        else:
            report(f"{path}: downloaded from {mirror}{name}")
            return path
    raise DataError(
        f"{known.name}: cannot download {name}. On a machine without network, {by_hand(known, located, root)}. "
        f"({'; '.join(failures)})"
    )


def _retrieve(url: str, md5: str, name: str, folder: Path) -> Path:
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    path = Path(pooch.retrieve(url, known_hash=f"md5:{md5}", fname=name, path=folder))
    path.chmod(0o644)  # pooch's temporary file, which it moves here, is for its owner only
    return path


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _write_error(folder, error) from None


def _write_error(folder: Path, error: OSError) -> StorageError:
    return StorageError(f"{folder}: cannot be written ({one_line(error)}). Make room or choose another data folder.")


def _unpack(known: KnownDataset, archive: Path, layout: Layout) -> None:
    """Take just the files of `layout` out of its archive; each is complete once it has its name."""
    folder = archive.parent / layout.folder
    _make_folder(folder)
    try:
        with tarfile.open(archive) as tar:
            for name in layout.files:
                _extract(tar, f"{layout.folder}/{name}", folder / name)
    except (tarfile.TarError, zlib.error, EOFError, KeyError) as error:
        raise _archive_error(known, archive, error) from None
    except OSError as error:
        if error.errno is None:  # gzip's own errors have none
            raise _archive_error(known, archive, error) from None
        raise _write_error(folder, error) from None


def _archive_error(known: KnownDataset, archive: Path, error: Exception) -> DataError:
    return DataError(
        f"{archive}: truncated or damaged archive ({one_line(error)}). "
        f"Delete it and run `hpcdistill prepare {known.name}` again."
    )


def _extract(tar: tarfile.TarFile, member: str, target: Path) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise tarfile.TarError(f"{member} is not a file")
    with source, whole_file(target, durable=False) as file:
        shutil.copyfileobj(source, file)
