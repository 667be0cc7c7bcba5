"""`hpcdistill prepare`: fetch a data set, or say what is understood of one's own. Needs no MPI."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

HELP = "fetch a data set with checksums, or check one's own and say what is understood of it"

_KEYS = (
    "data.images",
    "data.labels",
    "data.test_images",
    "data.test_labels",
    "data.axes",
    "data.size",
    "data.fit",
    "data.test_share",
    "seed",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = (
        "Find the files of a data set, check them, and download what is missing. Your own data: a .npz or .h5 file "
        "with images (n,h,w) or (n,h,w,c) and labels (n) under names such as images and labels, x_train and y_train, "
        "or train_images and train_labels; or a folder (./NAME) with a folder of pictures per class, or with folders "
        "train, test and val of such. It says what it takes for what; --picture shows it."
    )
    parser.add_argument(
        "name", metavar="NAME", help="digits, mnist, fashion-mnist, cifar-10, cifar-100, svhn, a file, or a folder"
    )
    parser.add_argument("--root", metavar="DIR", help="default: $HPCDISTILL_DATA, else ~/.cache/hpcdistill/data")
    parser.add_argument("--picture", metavar="FILE.png", help="write some images of each class with its name")
    parser.add_argument("--set", metavar="data.KEY=VALUE", action="append", default=[], dest="settings",
                        help=f"how to read your own data, as for a run: {', '.join(_KEYS)}")  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Prepare one data set."""
    from hpcdistill.config import parse_config
    from hpcdistill.data.download import prepare
    from hpcdistill.data.summary import sample
    from hpcdistill.errors import ConfigError, StorageError
    from hpcdistill.io.export import panel
    from hpcdistill.progress import Reporter
    from hpcdistill.run.reading import reading_of
    from hpcdistill.whole_file import whole_file

    for setting in args.settings:
        if setting.partition("=")[0].strip() not in _KEYS:
            raise ConfigError(f"prepare has no use for {setting!r}. Valid: {', '.join(_KEYS)}.")
    how = reading_of(parse_config("", args.settings))
    with Reporter(True) as reporter:
        dataset = prepare(args.name, args.root, reporter.say, how, partial(reporter.rows, "pictures read"))
    if args.picture:
        try:
            with whole_file(Path(args.picture)) as file:
                panel(*sample(dataset), f"{dataset.name}, {dataset.n_classes} classes").save(file, format="PNG")
        except OSError as error:
            raise StorageError(f"{args.picture}: cannot be written ({error.strerror or error}).") from None
        print(f"wrote {args.picture}")
    return 0
