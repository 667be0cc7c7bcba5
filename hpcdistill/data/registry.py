"""The known data sets: which files each consists of, where they come from, and how to tell them from damaged copies.

The MD5 sums are those the authors, or the loaders of the large frameworks, have published.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpcdistill.errors import DataError

OWN_FILE_SUFFIXES = (".npz", ".h5", ".hdf5", ".pt", ".pth")
_FOREIGN_SUFFIXES = (".npz", ".pt", ".pth")
_CHECKPOINT_SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True)
class Layout:
    """One way a data set is published: files that together are enough to read it.

    Attributes:
        format: key of the reader.
        train: names of the files of the training split; each may also have `.gz` appended.
        test: the same for the test split.
        downloads: names of what is fetched: the files, gzipped or not, or the one archive that holds them.
        mirrors: addresses that, with the name of a download appended, give its URL; the first that works is used.
        md5: published MD5 of downloads and, where there is one, of the files in the archive.
        folder: the folder inside the archive; empty where there is no archive.
    """

    format: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    downloads: tuple[str, ...]
    mirrors: tuple[str, ...]
    md5: Mapping[str, str]
    folder: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files, training split first."""
        return self.train + self.test


@dataclass(frozen=True)
class KnownDataset:
    """A data set that is known by name.

    Attributes:
        name: what the user writes.
        class_names: in the order of the labels.
        citation: the reference its authors ask for.
        licence: in a few words.
        layouts: how it is published, the preferred one first; empty where it ships with a dependency.
        label_crc32: CRC-32 of the label bytes of the published splits, for formats whose file names do not tell which
            data set they belong to.
        sizes: training images, test images; then height, width and channels of one.
    """

    name: str
    class_names: tuple[str, ...]
    citation: str
    licence: str
    layouts: tuple[Layout, ...] = ()
    label_crc32: frozenset[int] = field(default_factory=frozenset)
    sizes: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)


_DIGIT_NAMES = tuple("0123456789")

_FASHION_NAMES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip

_CIFAR10_NAMES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())  # noqa: SIM905

_CIFAR100_NAMES = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm""".split()  # noqa: SIM905
)

_IDX_TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
_IDX_TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_CIFAR10_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))


def _idx_layout(mirrors: tuple[str, ...], md5: tuple[str, ...]) -> Layout:
    downloads = tuple(f"{name}.gz" for name in _IDX_TRAIN + _IDX_TEST)
    return Layout("idx", _IDX_TRAIN, _IDX_TEST, downloads, mirrors, dict(zip(downloads, md5, strict=True)))


def _cifar_layout(
    format: str,
    folder: str,
    train: tuple[str, ...],
    test: tuple[str, ...],
    archive: str,
    md5: str,
    members_md5: tuple[str, ...] = (),
    mirrors: tuple[str, ...] = (),
) -> Layout:
    sums = {archive: md5, **dict(zip(train + test, members_md5, strict=False))}
    home = "https://www.cs.toronto.edu/~kriz/"
    return Layout(format, train, test, (archive,), (home, *mirrors), sums, folder)


_MNIST = _idx_layout(
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
)

_FASHION = _idx_layout(
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
)

_CIFAR10 = (
    _cifar_layout(
        "cifar10-binary",
        "cifar-10-batches-bin",
        tuple(f"{name}.bin" for name in _CIFAR10_TRAIN),
        ("test_batch.bin",),
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        mirrors=("https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",),
    ),
    _cifar_layout(
        "cifar10-pickle",
        "cifar-10-batches-py",
        _CIFAR10_TRAIN,
        ("test_batch",),
        "cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b53e74349a",
        (
            "c99cafc152244af753f735de768cd75f",
            "d4bba439e000b95fd0a9bffe97cbabec",
            "54ebc095f3ab1f0389bbae665268c751",
            "634d18415352ddfa80567beed471001a",
            "482c414d41f54cd18b22e5b47cb7c3cb",
            "40351d587109b95175f43aff81a1287e",
        ),
    ),
)

_CIFAR100 = (
    _cifar_layout(
        "cifar100-binary",
        "cifar-100-binary",
        ("train.bin",),
        ("test.bin",),
        "cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
    ),
    _cifar_layout(
        "cifar100-pickle",
        "cifar-100-python",
        ("train",),
        ("test",),
        "cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
        ("16019d7e3df5f24257cddd939b257f8d", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    ),
)

_SVHN_MD5 = {
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}
_SVHN = Layout(
    "svhn",
    ("train_32x32.mat",),
    ("test_32x32.mat",),
    tuple(_SVHN_MD5),
    ("http://ufldl.stanford.edu/housenumbers/",),
    _SVHN_MD5,
)

_KRIZHEVSKY = "Krizhevsky, Learning multiple layers of features from tiny images, University of Toronto, 2009"
_NO_CIFAR_LICENCE = "none stated; the authors ask for the citation"

_CIFAR = (50_000, 10_000, 32, 32, 3)

KNOWN: Mapping[str, KnownDataset] = {
    known.name: known
    for known in (
        KnownDataset(
            "digits",
            _DIGIT_NAMES,
            "Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI Machine Learning Repository, 1998",
            "CC BY 4.0",
            sizes=(1_297, 500, 8, 8, 1),
        ),
        KnownDataset(
            "mnist",
            _DIGIT_NAMES,
            "LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, "
            "Proceedings of the IEEE 86(11), 1998",
            "CC BY-SA 3.0",
            (_MNIST,),
            frozenset({0xBA07E8EF, 0xEE8604D9}),
            (60_000, 10_000, 28, 28, 1),
        ),
        KnownDataset(
            "fashion-mnist",
            _FASHION_NAMES,
            "Xiao, Rasul and Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017",
            "MIT",
            (_FASHION,),
            frozenset({0x2ED6E46A, 0x242BC73F}),
            (60_000, 10_000, 28, 28, 1),
        ),
        KnownDataset("cifar-10", _CIFAR10_NAMES, _KRIZHEVSKY, _NO_CIFAR_LICENCE, _CIFAR10, sizes=_CIFAR),
        KnownDataset("cifar-100", _CIFAR100_NAMES, _KRIZHEVSKY, _NO_CIFAR_LICENCE, _CIFAR100, sizes=_CIFAR),
        KnownDataset(
            "svhn",
            _DIGIT_NAMES,
            "Netzer et al., Reading digits in natural images with unsupervised feature learning, "
            "NIPS Workshop on Deep Learning and Unsupervised Feature Learning, 2011",
            "non-commercial use only",
            (_SVHN,),
            sizes=(73_257, 26_032, 32, 32, 3),
        ),
    )
}


def is_own_file(name: str) -> bool:
    """Tell whether `name` is the path of a user's own file: by its suffix, or by a slash or dot and that it is one."""
    is_path = os.sep in name or "." in name
    return name.lower().endswith(OWN_FILE_SUFFIXES) or (is_path and os.path.isfile(os.path.expanduser(name)))


def is_own_folder(name: str) -> bool:
    """Tell whether `name` is the path of a user's own folder: it has a slash, and is no file."""
    return os.sep in name and not is_own_file(name)


def is_foreign_set(path: Path) -> bool:
    """Tell whether a distilled set is of somebody else, and no checkpoint of a run, by what kind of file it is."""
    if os.path.isdir(path):
        return not os.path.islink(path / "latest.h5")
    suffix = path.suffix.lower()
    return suffix in _FOREIGN_SUFFIXES or (suffix not in _CHECKPOINT_SUFFIXES and os.path.isfile(path))


def known_dataset(name: str) -> KnownDataset:
    """Look a data set up by name.

    Raises:
        DataError: no such name → the message lists the valid ones and the closest. Not collective.
    """
    if name in KNOWN:
        return KNOWN[name]
    close = difflib.get_close_matches(name.lower(), KNOWN, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise DataError(
        f"Unknown data set {name!r}.{hint} Known: {', '.join(KNOWN)}; "
        f"or the path of your own file ending in {', '.join(OWN_FILE_SUFFIXES)}; or of a folder with a folder of "
        f"pictures per class, written with a slash: './{name}'."
    )
