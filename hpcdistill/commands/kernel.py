"""`hpcdistill kernel`: the kernel of all images of a configuration, in a file, alone or under mpirun/srun."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdistill.attempt import StopSignal
from hpcdistill.commands.arguments import Parser
from hpcdistill.config import load_config

if TYPE_CHECKING:
    from hpcdistill.mpi.binding import MPI

HELP = "compute the kernel of many images into an HDF5 file, tile by tile"
#: A tile of the ConvNet takes a core a quarter of a minute: what is lost when a rank is killed.
_TILE = 256


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = textwrap.dedent(
        """\
        Compute the kernel of the training images that CONFIG names (sections data, preprocess, kernel) with themselves,
        or of the test images with them, into one HDF5 file: dataset /kernel, with /row_labels, /column_labels and the
        indices of the images beside it.

          mpirun -n 4 hpcdistill kernel jobs/demo/digits.toml --output digits.h5
          mpirun -n 4 hpcdistill kernel jobs/demo/digits.toml --rows test --output digits-test.h5

        The same command goes on where it was ended, on any number of ranks: tiles that are there are verified and kept.
        `hpcdistill inspect FILE` says how many are. Memory does not depend on the number of images.
        """
    )
    parser.add_argument("config", metavar="CONFIG.toml", help="whose images, and which kernel")
    parser.add_argument("--set", dest="settings", metavar="SECTION.KEY=VALUE", action="append", default=[],
                        help="override one key of the configuration; may be repeated")  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="FILE", required=True, help="where to write, or to go on")
    parser.add_argument("--rows", choices=("train", "test"), default="train",
                        help="images of the rows; columns are training images (default: train)")  # fmt: skip
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="default: float64")
    parser.add_argument("--tile", type=int, metavar="N", default=_TILE,
                        help=f"side of a tile, which one rank computes at a time (default: {_TILE})")  # fmt: skip
    parser.add_argument("--compress", action="store_true", help="compress it without loss when it is complete")


def main(args: argparse.Namespace) -> int:
    """Compute. Collective under MPI."""
    with StopSignal() as asked:  # before anything slow is imported
        from hpcdistill.errors import ConfigError
        from hpcdistill.mpi.collectives import on_root
        from hpcdistill.mpi.runtime import run_collectively

        def body(comm: MPI.Intracomm) -> int:
            if not 1 <= args.tile <= 1 << 14:
                raise ConfigError(f"--tile must be from 1 to {1 << 14}, not {args.tile}.")
            config = on_root(comm, lambda: load_config(args.config, args.settings))
            import numpy as np

            from hpcdistill.run.kernel_experiment import Wanted, compute

            wanted = Wanted(args.rows, np.dtype(args.dtype), args.tile)
            compute(comm, config, wanted, args.output, asked, compressed=args.compress)
            return 0

        return run_collectively(body)
