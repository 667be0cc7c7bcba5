"""`hpcdistill export`: a distilled set as arrays or as a picture. Needs no MPI."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a distilled set as .npz arrays or a .png contact sheet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = (
        "npz: images (as they look, uint8), images_preprocessed, labels, source_index, mean, std, ZCA matrix, history. "
        "png: natural images above, the distilled images that grew from them below."
    )
    parser.add_argument("file", metavar="FILE.h5", type=Path, help="a checkpoint, such as OUTPUT/latest.h5")
    parser.add_argument("--format", choices=("npz", "png"), default="npz", help="default: npz")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: FILE with the new ending, resolved")


def main(args: argparse.Namespace) -> int:
    """Export one checkpoint."""
    from hpcdistill.errors import StorageError
    from hpcdistill.io.checkpoint import read_checkpoint
    from hpcdistill.io.export import export_npz, export_png
    from hpcdistill.io.run_directory import RunDirectory

    checkpoint = read_checkpoint(args.file)
    output = args.output or args.file.resolve().with_suffix(f".{args.format}")
    try:
        if args.format == "npz":
            export_npz(checkpoint, output, RunDirectory.of_checkpoint(args.file).preprocess)
        else:
            export_png(checkpoint, output)
    except OSError as error:
        raise StorageError(
            f"{output}: cannot be written ({error.strerror or error}). Give another file with --output."
        ) from error
    print(f"wrote {output}")
    return 0
