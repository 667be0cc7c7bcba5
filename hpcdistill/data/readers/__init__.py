"""Reading data sets: known ones by name, users' own files by path."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from hpcdistill.data.dataset import Dataset, Split
from hpcdistill.data.readers import cifar, idx, svhn
from hpcdistill.data.readers.digits import read_digits
from hpcdistill.data.readers.folder import read_folder
from hpcdistill.data.readers.locate import data_root, locate, missing_error
from hpcdistill.data.readers.own import read_own
from hpcdistill.data.readers.reading import DEFAULT, Reading
from hpcdistill.data.registry import KnownDataset, is_own_file, is_own_folder, known_dataset
from hpcdistill.data.sampling import split_off_test
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


def load_dataset(
    name: str,
    root: str | os.PathLike | None = None,
    reading: Reading = DEFAULT,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """Read a data set into memory.

    Args:
        name: a name from the registry, or the path of a user's own file ending in `.npz`, `.h5` or `.hdf5`
            (what it must hold: `hpcdistill.data.readers.own.read_own`), or of a folder of pictures, with a slash in it
            (`hpcdistill.data.readers.folder.read_folder`).
        root: folder with the files of the known data sets; by default `$HPCDISTILL_DATA`, else
            `~/.cache/hpcdistill/data`. Files are looked for in root/NAME, in the archive's own folder in root or in
            root/NAME, and in root itself. Unused for a user's own file and for `digits`.
        reading: how to read a user's own data.
        report: is told how many pictures of how many are read.

    Returns:
        images `(n, h, w, c)` uint8 or float32, labels `(n,)` int64, for all splits.

    Raises:
        DataError: unknown name, or a file that is missing, unreadable, damaged or unfit; the message names the file,
            what is wrong, and what to do. Not collective.
    """
    if is_own_file(name):
        return _with_test_split(read_own(name, reading), reading)
    if is_own_folder(name):
        return _with_test_split(read_folder(name, reading, report), reading)
    known = known_dataset(name)
    return _read_known(known, data_root(root)) if known.layouts else read_digits(known)


def _with_test_split(dataset: Dataset, reading: Reading) -> Dataset:
    """Return a data set with a test split of its own images where it has none and one is wanted."""
    if dataset.test is not None or not reading.test_share:
        return dataset
    labels = dataset.train.labels[: dataset.n_train]
    indices = split_off_test(labels, dataset.n_classes, reading.test_share, reading.seed)
    note = (f"{dataset.name} has no test split: {len(indices)} of its {dataset.n_train} images, drawn by seed and by "
            "class, are kept to test on (data.test_share)")  # fmt: skip
    return dataset.with_test_split(indices, note)


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
