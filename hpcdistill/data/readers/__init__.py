"""Reading data sets: known ones by name, users' own files by path."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from hpcdistill.data.dataset import Dataset, Split
from hpcdistill.data.readers import cifar, idx, svhn
from hpcdistill.data.readers.digits import read_digits
from hpcdistill.data.readers.locate import data_root, locate, missing_error
from hpcdistill.data.readers.own import read_own
from hpcdistill.data.registry import KnownDataset, is_own_file, known_dataset
from hpcdistill.errors import DataError

ReadSplit = Callable[[Sequence[Path], KnownDataset], Split]

READERS: dict[str, ReadSplit] = {
    "idx": idx.read_split,
    "cifar10-binary": partial(cifar.read_binary, label_bytes=1),
    "cifar100-binary": partial(cifar.read_binary, label_bytes=2),
    "cifar10-pickle": partial(cifar.read_pickle, label_key="labels"),
    "cifar100-pickle": partial(cifar.read_pickle, label_key="fine_labels"),
    "svhn": svhn.read_split,
}


def load_dataset(name: str, root: str | os.PathLike | None = None) -> Dataset:
    """Read a data set into memory.

    Args:
        name: a name from the registry, or the path of a user's own file ending in `.npz`, `.h5` or `.hdf5`
            (what it must hold: `hpcdistill.data.readers.own.read_own`).
        root: folder with the files of the known data sets; by default `$HPCDISTILL_DATA`, else
            `~/.cache/hpcdistill/data`. Files are looked for in root/NAME, in the archive's own folder in root or in
            root/NAME, and in root itself. Unused for a user's own file and for `digits`.

    Returns:
        images `(n, h, w, c)` uint8 or float32, labels `(n,)` int64, for both splits.

    Raises:
        DataError: unknown name, or a file that is missing, unreadable, damaged or unfit; the message names the file,
            what is wrong, and what to do. Not collective.
    """
    if is_own_file(name):
        return read_own(name)
    known = known_dataset(name)
    return _read_known(known, data_root(root)) if known.layouts else read_digits(known)


def _read_known(known: KnownDataset, root: Path) -> Dataset:
    located = locate(known, root)
    if located.missing:
        raise missing_error(known, located, root)
    read, layout, paths = READERS[located.layout.format], located.layout, located.paths
    train = read([paths[name] for name in layout.train], known)
    test = read([paths[name] for name in layout.test], known)
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"{located.folder}: training images are {train.images.shape[1:]} but test images {test.images.shape[1:]} "
            "(h, w, c). The files do not belong together."
        )
    return Dataset(known.name, train, test, known.class_names)
