"""`hpcdistill transfer`: what a distilled set is worth to networks of finite width, trained by gradient descent."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcdistill.commands.arguments import add_distilled, named_path, number_from_zero, positive, positive_number

if TYPE_CHECKING:
    import numpy as np

    from hpcdistill.mpi.binding import MPI
    from hpcdistill.run.experiment import Experiment
    from hpcdistill.run.transfer import TrainedAccuracies, TransferRequest, TransferResult

HELP = "accuracy of finite networks trained on a distilled set, beside natural images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = textwrap.dedent(
        """\
        Train networks of finite width, from random initialisation and without normalisation, on the support set in
        FILE and on as many random natural images, and print how many test images each kind classifies rightly. Each
        network is trained by one rank; results do not depend on the number of ranks.

          mpirun -n 4 hpcdistill transfer runs/kip/latest.h5
          mpirun -n 4 hpcdistill transfer runs/kip/latest.h5 --width 1024 --json transfer.json
          mpirun -n 4 hpcdistill transfer runs/kip/latest.h5 --architecture Conv-Vec3 --parameterization ntk

        Loss: half the mean of (f - y)^2 over images and classes, with the labels y as stored (natural images: centred
        one-hot), and --l2 times half the squared norm of all weights and biases. Optimiser: SGD with momentum 0.9
        and cosine decay to 0. Largest stable learning rate: that of each network at its initialisation,
        2 (1 + 0.9) / (h + l2), where h is the largest eigenvalue of its empirical tangent kernel on the support,
        divided by images times classes. The papers' networks have width 1024. JAX trains on the CPU unless
        JAX_PLATFORMS says otherwise.

        Figures are kept in the run's folder, in evaluations/, from which `export --format html` takes them.
        """
    )
    add_distilled(parser, overrides=True)
    _add_network_arguments(parser)
    _add_training_arguments(parser)
    parser.add_argument("--json", metavar="FILE", type=named_path, help="write all figures there, too")


def _add_network_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--architecture", metavar="NAME", help="another network than it was distilled with")
    parser.add_argument("--width", metavar="N", type=positive, default=256,
                        help="channels of each convolution, units of each hidden layer (default: 256)")  # fmt: skip
    parser.add_argument("--parameterization", choices=("standard", "ntk"), default="standard",
                        help="scale of weights and their gradients (default: standard)")  # fmt: skip
    parser.add_argument("--seeds", metavar="N", type=positive, default=4,
                        help="networks trained on the distilled set (default: 4)")  # fmt: skip
    parser.add_argument("--natural-draws", metavar="N", type=positive,
                        help="draws of natural images, a network for each (default: as many as --seeds)")  # fmt: skip


def _add_training_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", metavar="N", type=positive, default=5000, help="default: 5000")
    parser.add_argument("--batch", metavar="N", type=positive, default=100,
                        help="images per step; all, where the support has not more (default: 100)")  # fmt: skip
    parser.add_argument("--l2", metavar="X", type=number_from_zero,
                        help="weight of half the squared norm of the parameters (default: 1e-3; with ntk 1e-3/width, "
                        "whose weights are about √width times as large)")  # fmt: skip
    parser.add_argument("--learning-rate", metavar="X", type=positive_number, default=0.25,
                        help="so many times the largest stable learning rate (default: 0.25: a network whose kernel "
                        "moves in training bears less than one that is linear)")  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Train and test. Collective under MPI."""
    from hpcdistill.mpi.runtime import run_collectively

    def body(comm: MPI.Intracomm) -> int:
        _transfer(comm, args)
        return 0

    return run_collectively(body)


def _transfer(comm: MPI.Intracomm, args: argparse.Namespace) -> None:
    from hpcdistill.bench.report import check_writable, write_json
    from hpcdistill.io.checkpoint import read_checkpoint
    from hpcdistill.io.evaluation_records import write_evaluation
    from hpcdistill.io.run_directory import RunDirectory
    from hpcdistill.mpi.collectives import on_root
    from hpcdistill.progress import Reporter
    from hpcdistill.run.adopt import adopt
    from hpcdistill.run.evaluate import load_evaluation, stored_for_evaluation
    from hpcdistill.run.transfer import transfer

    on_root(comm, lambda: check_writable(args.json))
    file = adopt(comm, args.file, args.settings)
    checkpoint = on_root(comm, lambda: read_checkpoint(file))
    x_s, y_s = checkpoint.images("support/images"), checkpoint.array("support/labels")
    config = stored_for_evaluation(comm, checkpoint, args.settings, str(args.file))
    config = config.with_architecture(args.architecture or config.kernel.architecture)
    _ = config.architecture  # raises if it is unknown
    directory = RunDirectory.of_checkpoint(file)
    with Reporter(comm.Get_rank() == 0) as reporter:
        experiment = load_evaluation(comm, config, checkpoint, directory, reporter)
        request = _request(args)
        result = transfer(experiment, x_s, y_s, request)
        reporter.say(_figures(args.file, result))
        if args.json:
            on_root(comm, lambda: write_json(args.json, _content(args.file, result)))
            reporter.say(f"wrote {args.json}")
        record = _record(experiment, (x_s, y_s), request, result)
        on_root(comm, lambda: write_evaluation(directory.path, record))


def _request(args: argparse.Namespace) -> TransferRequest:
    from hpcdistill.learning.network_training import L2, Training
    from hpcdistill.run.transfer import TransferRequest

    default_l2 = L2 if args.parameterization == "standard" else L2 / args.width
    l2 = default_l2 if args.l2 is None else args.l2
    training = Training(args.steps, args.batch, l2, args.learning_rate)
    return TransferRequest(args.width, args.parameterization, training, args.seeds, args.natural_draws or args.seeds)


def _figures(file: Path, result: TransferResult) -> str:
    distilled, natural = result.distilled, result.natural
    gain = 100 * (distilled.mean - natural.mean)
    return (
        f"{file}: {result.architecture} of width {result.width} ({result.parameterization} parameterization, "
        f"{result.parameters:,} parameters), {result.steps} steps, {result.test_images} test images\n"
        f"  {natural.images} natural images: test accuracy {natural}, {_networks(natural)}\n"
        f"  {distilled.images} distilled images: test accuracy {distilled}, {_networks(distilled)}: {gain:+.2f} points"
    )


def _networks(measured: TrainedAccuracies) -> str:
    count, rates = len(measured.accuracies), measured.learning_rates
    spread = f"{min(rates):.3g}" if count == 1 else f"{min(rates):.3g} to {max(rates):.3g}"
    return f"{count} network{'s' * (count > 1)}, learning rate {spread}"


def _content(file: Path, result: TransferResult) -> dict[str, Any]:
    from hpcdistill.bench.machine import now, versions

    return {"command": "transfer", "file": str(file), **dataclasses.asdict(result), "date": now(),
            "versions": versions()}  # fmt: skip


def _record(
    experiment: Experiment, support: tuple[np.ndarray, np.ndarray], request: TransferRequest, result: TransferResult
) -> dict[str, Any]:
    """Return what the run's folder keeps."""
    from hpcdistill.run.evaluation_record import new_record

    asked = dataclasses.asdict(request.training) | {
        "width": request.width,
        "parameterization": request.parameterization,
        "seeds": request.seeds,
        "natural_draws": request.natural_draws,
    }
    figures = {"distilled": list(result.distilled.accuracies), "natural": list(result.natural.accuracies)}
    return new_record(experiment, "transfer", support, images=len(support[0]), **asked) | figures
