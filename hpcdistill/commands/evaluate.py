"""`hpcdistill evaluate`: what a distilled set is worth, by kernel ridge regression."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdistill.commands.arguments import add_distilled

if TYPE_CHECKING:
    from hpcdistill.io.checkpoint import Checkpoint
    from hpcdistill.learning.tally import Tally
    from hpcdistill.mpi.binding import MPI
    from hpcdistill.run.accuracies import Accuracies
    from hpcdistill.run.experiment import Experiment

HELP = "accuracy of a distilled set, with its own kernel or others, beside natural images"
#: Classes up to which a confusion matrix is printed; it is kept for any number.
_MOST_CLASSES = 20
#: Random draws of each size, at most.
_MOST_DRAWS = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = textwrap.dedent(
        """\
        Predict the test images by kernel ridge regression on the support set in FILE: accuracy, loss, accuracy of each
        class, confusion matrix. The loss is the papers' squared error, whatever the run has minimised. Under mpirun the
        test images are split over the ranks.

          mpirun -n 4 hpcdistill evaluate runs/kip/latest.h5
          mpirun -n 4 hpcdistill evaluate runs/kip/latest.h5 --kernel ConvNet --kernel FC3 --kernel Conv-Vec3
          mpirun -n 4 hpcdistill evaluate runs/kip/latest.h5 --natural 1,10,100 --draws 5

        Figures are kept in the run's folder, in evaluations/, from which `export --format html` takes them. Draws of
        natural images that are there already, of the same data and settings, are not measured again.

        A set of somebody else, a .npz or .pt file or a folder of pictures, needs what it cannot say itself:

          hpcdistill evaluate kip_mnist.npz --set data.name=mnist --set kernel.architecture=ConvNet
        """
    )
    add_distilled(parser, overrides=True)
    parser.add_argument("--kernel", dest="kernels", metavar="ARCHITECTURE", action="append", default=[],
                        help="another architecture than it was distilled with; may be repeated")  # fmt: skip
    parser.add_argument("--natural", metavar="1,10,100,all",
                        help="compare with so many times as many random natural images (all: every one)")  # fmt: skip
    parser.add_argument("--draws", type=int, default=3, metavar="N", help="random draws of each size (default: 3)")


def main(args: argparse.Namespace) -> int:
    """Evaluate. Collective under MPI."""
    from hpcdistill.mpi.runtime import run_collectively

    def body(comm: MPI.Intracomm) -> int:
        _evaluate(comm, args)
        return 0

    return run_collectively(body)


def _evaluate(comm: MPI.Intracomm, args: argparse.Namespace) -> None:
    from hpcdistill.errors import ConfigError
    from hpcdistill.io.checkpoint import read_checkpoint
    from hpcdistill.io.run_directory import RunDirectory
    from hpcdistill.mpi.collectives import on_root
    from hpcdistill.progress import Reporter
    from hpcdistill.run.adopt import adopt
    from hpcdistill.run.evaluate import load_evaluation, stored_for_evaluation, with_kernel

    if not 1 <= args.draws <= _MOST_DRAWS:
        raise ConfigError(f"--draws must be 1 to {_MOST_DRAWS:,}, not {args.draws}.")
    file = adopt(comm, args.file, args.settings)
    checkpoint = on_root(comm, lambda: read_checkpoint(file))
    config = stored_for_evaluation(comm, checkpoint, args.settings, str(args.file))
    names = args.kernels or [config.kernel.architecture]
    configs = [config.with_architecture(name) for name in names]
    _ = [one.architecture for one in configs]  # raises if one is unknown
    directory = RunDirectory.of_checkpoint(file)
    with Reporter(comm.Get_rank() == 0) as reporter:
        experiment = load_evaluation(comm, configs[0], checkpoint, directory, reporter)
        for name in names:
            _evaluate_kernel(with_kernel(experiment, name, checkpoint), checkpoint, directory.path, args)


def _evaluate_kernel(experiment: Experiment, checkpoint: Checkpoint, folder: Path, args: argparse.Namespace) -> None:
    from hpcdistill.mpi.collectives import on_root
    from hpcdistill.run.evaluate import keep_distilled, measure_natural, measure_support, parse_sizes

    x_s, y_s = checkpoint.images("support/images"), checkpoint.array("support/labels")
    per_class = max(1, len(x_s) // experiment.dataset.n_classes)
    sizes = on_root(experiment.comm, lambda: parse_sizes(experiment, args.natural, per_class))
    tally = measure_support(experiment, x_s, y_s)
    experiment.reporter.say(_figures(experiment, args.file, len(x_s), tally))  # before anything is written
    keep_distilled(experiment, x_s, y_s, checkpoint.attribute("step"), folder, tally)
    for size in sizes:
        natural = measure_natural(experiment, size, args.draws, folder)
        experiment.reporter.say(_comparison(tally.accuracy, len(x_s), natural))


def _figures(experiment: Experiment, file: Path, images: int, tally: Tally) -> str:
    import numpy as np

    from hpcdistill.run.evaluation_record import kernel_name

    names = experiment.dataset.class_names
    sizes = tally.confusion.sum(axis=1)
    balanced = f", balanced {tally.balanced_accuracy:.2%}" if sizes.min() < sizes.max() else ""
    lines = [f"{file}: {images} support images, {kernel_name(experiment.config)}: test accuracy {tally.accuracy:.2%}"
             f"{balanced}, loss {tally.loss:.5f} ({tally.done} test images)"]  # fmt: skip
    if len(names) > _MOST_CLASSES:
        return lines[0]
    width = max(len(name) for name in names)
    lines.append(f"  {'class':<{width}}  accuracy  predicted as {', '.join(names)}")
    for name, accuracy, row in zip(names, tally.class_accuracy, tally.confusion, strict=True):
        shown = "–" if np.isnan(accuracy) else f"{accuracy:.2%}"  # no test images
        lines.append(f"  {name:<{width}}  {shown:>8}  " + " ".join(f"{number:>5}" for number in row))
    return "\n".join(lines)


def _comparison(accuracy: float, images: int, natural: Accuracies) -> str:
    verdict = "better" if accuracy > natural.mean else "not better"
    draws = f", mean of {len(natural.accuracies)} draws" if len(natural.accuracies) > 1 else ""
    return (
        f"{natural.images} natural images{draws}: {natural}; the {images} distilled ones are {verdict}: {accuracy:.2%}"
    )
