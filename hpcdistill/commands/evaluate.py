"""`hpcdistill evaluate`: test accuracy of a distilled set by kernel ridge regression."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpi4py import MPI

HELP = "test accuracy of a distilled set, with its own kernel or another one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = (
        "Predict the test images by kernel ridge regression on the support set in FILE. Under mpirun the test "
        "images are split over the ranks."
    )
    parser.add_argument("file", metavar="FILE.h5", type=Path, help="a checkpoint, such as OUTPUT/latest.h5")
    parser.add_argument("--kernel", metavar="ARCHITECTURE", help="another architecture than it was distilled with")
    parser.add_argument("--set", dest="settings", metavar="SECTION.KEY=VALUE", action="append", default=[],
                        help="override one key of the stored configuration, such as data.root=DIR")  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Evaluate. Collective under MPI."""
    from hpcdistill.mpi.runtime import run_collectively

    def body(comm: MPI.Intracomm) -> int:
        _evaluate(comm, args)
        return 0

    return run_collectively(body)


def _evaluate(comm: MPI.Intracomm, args: argparse.Namespace) -> None:
    from hpcdistill.config import parse_config
    from hpcdistill.errors import DataError
    from hpcdistill.io.checkpoint import read_checkpoint
    from hpcdistill.mpi.collectives import on_root
    from hpcdistill.progress import Reporter
    from hpcdistill.run.experiment import load_experiment

    checkpoint = on_root(comm, lambda: read_checkpoint(args.file))
    settings = args.settings + ([f"kernel.architecture={args.kernel}"] if args.kernel else [])
    config = parse_config(checkpoint.attributes["config"], settings, str(args.file))
    # Only the support's kernel matters here, so no size limit of the method applies.
    config = dataclasses.replace(config, method="krr")
    with Reporter(comm.Get_rank() == 0) as reporter:
        experiment = load_experiment(comm, config, reporter)
        test = experiment.test_targets()
        if test is None:
            raise DataError(f"{config.data.name}: has no test split to evaluate on.")
        support = experiment.factored_support(checkpoint.arrays["support/images"])
        metrics = support.evaluate(checkpoint.arrays["support/labels"], test)
        support.close()
        reporter.say(f"{args.file}: {support.n} support images, {config.kernel.architecture} "
                     f"{config.kernel.kind.upper()}: test accuracy {metrics.accuracy:.2%}, loss {metrics.loss:.5f} "
                     f"({test.count} test images)")  # fmt: skip
