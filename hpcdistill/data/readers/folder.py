"""Pictures in a folder per class, as torchvision's ImageFolder reads them. Not collective."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcdistill.data.dataset import Dataset, Split
from hpcdistill.data.readers.check import display_range
from hpcdistill.data.readers.class_names import check_class_names, in_order
from hpcdistill.data.readers.files import expand_home, open_error
from hpcdistill.data.readers.folder_cache import FolderCache
from hpcdistill.data.readers.pictures import SUFFIXES, read_pictures
from hpcdistill.data.readers.reading import Reading
from hpcdistill.data.readers.roles import SPLITS
from hpcdistill.errors import DataError

_KINDS = ", ".join(SUFFIXES)

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class _Listing:
    """The pictures of a folder.

    Attributes:
        files: by split, relative paths in order of classes and names, and the number of each one's class.
        others: how many files are no pictures by their names.
        notes: what else is not used, a line each.
        digest: of the names, sizes and times of the pictures.
    """

    class_names: tuple[str, ...]
    files: dict[str, tuple[list[str], list[int]]]
    others: int
    notes: list[str]
    digest: str


def read_folder(name: str, reading: Reading, report: Report = lambda done, total: None) -> Dataset:
    """Read a folder with a folder of pictures per class, or folders train, test and validation (val) of such.

    What has been read is kept in the data folder until a name, a size or a time in the folder changes.

    Args:
        name: path of the folder.
        reading: `size`, `fit`: what size to bring the pictures to.
        report: is told how many pictures of how many are read.

    Returns:
        images `(n, h, w, c)`, see `read_pictures`; classes named by their folders, in alphabetic order, or in that of
        numbers where all are.

    Raises:
        DataError: no pictures, of several sizes, or such as cannot be read: all of them are named.
    """
    path = expand_home(name)
    listing = _list(path)
    splits = {split: _absolute(path, files) for split, (files, _) in listing.files.items()}
    cache = FolderCache(path, f"{listing.digest} size={reading.size} fit={reading.fit}")
    arrays = cache.read()
    if arrays is None:
        arrays = read_pictures(path, splits, reading.size, reading.fit, report)
        cache.write(arrays)
    notes = list(listing.notes)
    if listing.others:
        notes.append(f"{path}: files that are no pictures ({_KINDS}): {listing.others}")
    made = {split: Split(arrays[split], np.array(listing.files[split][1], np.int64)) for split in listing.files}
    held_out = made.get("validation")
    train = made["train"] if held_out is None else made["train"].joined(held_out)
    understood = tuple(f"{split}: {len(files)} pictures" for split, (files, _) in listing.files.items())
    return Dataset(
        path.name,
        train,
        made.get("test"),
        listing.class_names,
        display_range(str(path), made["train"].images),
        validation=len(held_out) if held_out else 0,
        understood=understood,
        notes=tuple(notes),
    )


def _absolute(path: Path, files: list[str]) -> list[Path]:
    return [path / name for name in files]


def _list(path: Path) -> _Listing:
    roots, notes = _split_folders(path)
    class_names = in_order(_folders(roots["train"]))
    if len(class_names) < 2:
        found = f"{len(class_names)} folder{'s' * (len(class_names) != 1)}"
        raise DataError(f"{roots['train']}: has {found} in it. A folder of pictures for each of two classes is needed.")
    check_class_names(class_names, str(roots["train"]))
    digest, files, others = hashlib.sha256(), {}, 0
    for split, root in roots.items():
        entries, labels = [], list[int]()
        for number, class_name in enumerate(_known_folders(root, class_names, roots["train"])):
            found_here, rest = _pictures(root / class_name) if (root / class_name).is_dir() else ([], 0)
            if not found_here and split == "train":
                raise DataError(f"{root / class_name}: holds no pictures ({_KINDS}). Remove it, or add some.")
            others += rest
            entries += found_here
            labels += len(found_here) * [number]
        for entry in entries:
            digest.update(_state(entry, path).encode(errors="replace"))
        files[split] = ([os.path.relpath(entry.path, path) for entry in entries], labels)
    return _Listing(class_names, files, others, notes, digest.hexdigest())


def _state(entry: os.DirEntry[str], path: Path) -> str:
    """Return what changes when a picture does."""
    try:
        status = entry.stat()
    except OSError as error:
        raise DataError(f"{entry.path}: cannot be read ({error.strerror}). Replace or remove it.") from None
    times = f"{status.st_mtime_ns}\0{status.st_ctime_ns}"
    return f"{os.path.relpath(entry.path, path)}\0{status.st_size}\0{times}\n"


def _split_folders(path: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the folders of the splits, and notes on what lies beside them and is not used."""
    names = _folders(path)
    found: dict[str, list[str]] = {}
    for name in names:
        for split, words in SPLITS.items():
            if name.lower() in words:
                found.setdefault(split, []).append(name)
    if not found:
        return {"train": path}, []
    for split, several in found.items():
        if len(several) > 1:
            raise DataError(f"{path}: {' and '.join(several)} may each be the {split} split. Leave one of them out.")
    if "train" not in found:
        raise DataError(f"{path}: has {', '.join(names)}, but no 'train'. Add it, with a folder per class.")
    unused = sorted(set(names) - {several[0] for several in found.values()})
    notes = [f"{path} also has {', '.join(map(repr, unused))}, which is not used"] if unused else []
    return {split: path / several[0] for split, several in found.items()}, notes


def _known_folders(root: Path, class_names: tuple[str, ...], train: Path) -> tuple[str, ...]:
    """Return the names of the classes, having made sure that a split has no other folders, and classes no splits."""
    unknown = sorted(set(_folders(root)) - set(class_names))
    if unknown:
        raise DataError(f"{root}: has a folder {unknown[0]!r}, which is no class of {train}. Remove it.")
    for class_name in class_names:
        inside = _folders(root / class_name) if (root / class_name).is_dir() else []
        if splits := [name for name in inside if any(name.lower() in words for words in SPLITS.values())]:
            raise DataError(
                f"{root / class_name}: has a folder {splits[0]!r}. Splits come first, and classes in them: "
                f"{splits[0]}/{class_name}."
            )
    return class_names


def _folders(path: Path) -> list[str]:
    return [entry.name for entry in _entries(path) if entry.is_dir() and not entry.name.startswith(".")]


def _pictures(path: Path, above: tuple[str, ...] = ()) -> tuple[list[os.DirEntry[str]], int]:
    """Return the pictures of a folder and those below it, in order of their paths, and the number of other files."""
    found: list[os.DirEntry[str]] = []
    others, here = 0, os.path.realpath(path)
    for entry in _entries(path) if here not in above else []:  # a link may lead back
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            below, rest = _pictures(Path(entry.path), (*above, here))
            found, others = found + below, others + rest
        elif entry.name.lower().endswith(SUFFIXES):
            found.append(entry)
        else:
            others += 1
    return found, others


def _entries(path: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, in alphabetic order."""
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such file or folder. Check the path.") from None
    except OSError as error:
        raise open_error(path, error) from None
