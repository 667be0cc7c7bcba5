"""`hpcdistill export`: a distilled set as arrays, as a picture, or as a report. Needs no MPI."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hpcdistill.commands.arguments import add_distilled, checkpoints_of, named_path

if TYPE_CHECKING:
    from hpcdistill.io.checkpoint import Checkpoint

HELP = "write a distilled set as arrays, PyTorch tensors, pictures, a contact sheet, or a report"
#: What a format's file, or folder, is named by.
ENDINGS = {"npz": ".npz", "torch": ".pt", "images": "-images", "png": ".png", "html": ".html"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = (
        "npz: images (as they look: uint8, cut off at the data set's range of values), images_preprocessed, labels, "
        "source_index, mean, std, ZCA matrix, history. "
        "torch: the same as tensors in PyTorch's order of axes, images (preprocessed) and images_display, for "
        "torch.load. images: a folder of 8-bit PNGs for each class, with all labels in labels.csv. "
        "png: natural images above, the distilled images that grew from them below. "
        "html: one file with everything in it: result beside the papers', images, labels, accuracy and loss over the "
        "steps, what `evaluate` has measured, configuration."
    )
    add_distilled(parser)
    parser.add_argument("--format", choices=tuple(ENDINGS), help="default: what --output ends with, else npz")
    parser.add_argument("--output", type=named_path, metavar="PATH", help="default: FILE with the new ending, resolved")


def main(args: argparse.Namespace) -> int:
    """Export one checkpoint."""
    from hpcdistill.errors import StorageError
    from hpcdistill.io.checkpoint import read_checkpoint
    from hpcdistill.io.export_images import export_images
    from hpcdistill.launcher import is_first_rank
    from hpcdistill.whole_file import whole_file

    form = _format_of(args.format, args.output)
    (path,) = checkpoints_of([args.file], args.settings)
    if not is_first_rank():
        return 0
    checkpoint = read_checkpoint(path)
    source = args.file.resolve()
    name = source.name if source.is_dir() else source.stem
    output = args.output or source.with_name(name + ENDINGS[form])
    _check_nothing_lost(args, checkpoint, output, is_new=path != args.file and form != "images")
    try:
        if form == "images":
            export_images(checkpoint, output)
        else:
            with whole_file(output) as file:
                _export(path, form, checkpoint, file)
    except OSError as error:
        raise StorageError(
            f"{output}: cannot be written ({error.strerror or error}). Give another one with --output."
        ) from error
    print(f"wrote {output}")
    return 0


def _format_of(asked: str | None, output: Path | None) -> str:
    """Return the format that is asked for, or that the output's name ends with; `ConfigError` if they contradict."""
    from hpcdistill.errors import ConfigError

    suffix = output.suffix.lower() if output else ""
    told = next((form for form, ending in ENDINGS.items() if ending == suffix), None)
    if asked and told and asked != told:
        raise ConfigError(f"{output}: ends as a file of format {told}, and --format is {asked}. Leave one of them out.")
    return asked or told or "npz"


def _check_nothing_lost(args: argparse.Namespace, checkpoint: Checkpoint, output: Path, *, is_new: bool) -> None:
    """Raise `ConfigError` where an export would take the place of the set itself, of its data, or of another's file.

    `is_new`: the file must not exist, unless it was named.
    """
    from hpcdistill.config import parse_stored
    from hpcdistill.errors import ConfigError

    data = Path(parse_stored(checkpoint.attribute("config"), where=str(args.file)).data.name)
    for path, what in ((args.file, "the distilled set"), (data, "the data set")):
        if output.exists() and path.exists() and output.samefile(path):
            raise ConfigError(f"{output}: is {what}. Give another name with --output.")
    if is_new and not args.output and output.exists():
        raise ConfigError(f"{output}: is there already. Give another name, or this one, with --output.")


def _export(path: Path, form: str, checkpoint: Checkpoint, file: BinaryIO) -> None:
    from hpcdistill.io.export import export_npz, export_png
    from hpcdistill.io.export_images import export_torch
    from hpcdistill.io.preprocess_file import zca_of
    from hpcdistill.io.run_directory import RunDirectory

    directory = RunDirectory.of_checkpoint(path)
    if form == "npz":
        export_npz(checkpoint, file, zca_of(checkpoint, directory.preprocess))
    elif form == "torch":
        export_torch(checkpoint, file)
    elif form == "png":
        export_png(checkpoint, file)
    else:
        _export_html(path, checkpoint, file, directory.path)


def _export_html(path: Path, checkpoint: Checkpoint, file: BinaryIO, folder: Path) -> None:
    from hpcdistill.config import parse_stored
    from hpcdistill.io.evaluation_records import read_evaluations
    from hpcdistill.io.report.document import report
    from hpcdistill.paper.published import published_lines

    config = parse_stored(checkpoint.attribute("config"), where=str(path))
    setting = (config.data.name, config.method, config.kernel.architecture, config.preprocess.zca)
    file.write(report(checkpoint, read_evaluations(folder), dict(published_lines(*setting))).encode())
