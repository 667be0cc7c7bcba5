"""`hpcdistill prepare`: fetch a data set, or check what is on disk. Needs no MPI."""

from __future__ import annotations

import argparse

HELP = "fetch a data set with checksums, or check what is on disk"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = (
        "Find the files of a data set, check them, and download what is missing. Your own data: a .npz or .h5 file "
        "with images (n,h,w) or (n,h,w,c), labels (n), and optionally test_images and test_labels."
    )
    parser.add_argument(
        "name", metavar="NAME", help="digits, mnist, fashion-mnist, cifar-10, cifar-100, svhn, or a file"
    )
    parser.add_argument("--root", metavar="DIR", help="default: $HPCDISTILL_DATA, else ~/.cache/hpcdistill/data")


def main(args: argparse.Namespace) -> int:
    """Prepare one data set."""
    from hpcdistill.data.download import prepare

    prepare(args.name, args.root, print)
    return 0
