"""`hpcdistill kernel`: the kernel of all images of a configuration, in a file, alone or under mpirun/srun."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING

from hpcdistill.attempt import StopSignal
from hpcdistill.commands.arguments import Parser, named_path
from hpcdistill.config import load_config
from hpcdistill.io.tile import DEFAULT_TILE, check_side

if TYPE_CHECKING:
    from hpcdistill.mpi.binding import MPI

HELP = "compute the kernel of many images into an HDF5 file, tile by tile"


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
        `hpcdistill inspect FILE` says how many are, and does not verify them. Memory does not depend on the number of
        images.
        """
    )
    parser.epilog = textwrap.dedent(
        """\
        What cannot change once there is a file: --tile, --dtype, --rows, the images, the network, and the backend with
        its instruction set. With kernel.backend=auto the command goes on with the backend that the file was begun with.

        The last digits of entries depend on the backend, its instruction set and, for some networks, on --tile. With
        preprocess.zca they also depend on the number of ranks of the first start, which fit the ZCA matrix together. It
        is kept in FILE.zca.h5: keep it beside FILE until that is complete.

        --compress works on one rank, and takes the memory of a few tiles. It writes a second file, so that the disk
        needs room for both until the first is removed. A compressed file cannot be repaired where it is damaged.

        HDF5 1.10 or newer reads the file.
        """
    )
    parser.add_argument("config", metavar="CONFIG.toml", help="whose images, and which kernel")
    parser.add_argument("--set", dest="settings", metavar="SECTION.KEY=VALUE", action="append", default=[],
                        help="override one key of the configuration; may be repeated")  # fmt: skip
    parser.add_argument("--output", type=named_path, metavar="FILE", required=True, help="where to write, or to go on")
    parser.add_argument("--rows", choices=("train", "test"), default="train",
                        help="images of the rows; columns are training images (default: train)")  # fmt: skip
    parser.add_argument(
        "--dtype",
        choices=("float64", "float32"),
        default="float64",
        help="of the entries; kernel.precision does not count here (default: float64)",
    )
    parser.add_argument("--tile", type=int, metavar="N", default=DEFAULT_TILE,
                        help=f"side of a tile, which a rank computes at a time (default: {DEFAULT_TILE})")  # fmt: skip
    parser.add_argument("--compress", action="store_true", help="compress it without loss when it is complete")


def main(args: argparse.Namespace) -> int:
    """Compute. Collective under MPI."""
    with StopSignal() as asked:  # before anything slow is imported
        from hpcdistill.mpi.collectives import on_root
        from hpcdistill.mpi.runtime import run_collectively

        def body(comm: MPI.Intracomm) -> int:
            check_side(args.tile, "--tile")
            config = on_root(comm, lambda: load_config(args.config, args.settings))
            import numpy as np

            from hpcdistill.run.kernel_experiment import Wanted, compute

            wanted = Wanted(args.rows, np.dtype(args.dtype), args.tile)
            compute(comm, config, wanted, args.output, asked, compressed=args.compress)
            return 0

        return run_collectively(body)
