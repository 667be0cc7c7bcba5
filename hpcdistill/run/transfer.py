"""Transfer to finite networks: trainings on distilled and on natural images, dealt out over the ranks.

Every training, with its test, is made on one rank and depends on seeds alone, so that results do not depend on the
number of ranks. JAX uses the cores that a rank is bound to; between one core and several it rounds differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from hpcdistill.data.memory import check_memory
from hpcdistill.data.sampling import draw_support
from hpcdistill.jax_runtime import single_precision
from hpcdistill.learning.assemble import Targets
from hpcdistill.learning.finite_network import FiniteNetwork
from hpcdistill.learning.network_training import EVALUATION_ROWS, Trainer, Training
from hpcdistill.mpi.collectives import agree, gather_objects, node_communicator
from hpcdistill.run.accuracies import Accuracies
from hpcdistill.run.experiment import Experiment

DISTILLED, NATURAL = "distilled", "natural"


@dataclass(frozen=True)
class TransferRequest:
    """What is asked for.

    Attributes:
        width, parameterization: of the network; its layers are those of the experiment's architecture.
        training: how it is trained.
        seeds: networks trained on the distilled images.
        natural_draws: random natural supports, with a network for each.
    """

    width: int
    parameterization: str
    training: Training
    seeds: int
    natural_draws: int


@dataclass(frozen=True)
class TrainedAccuracies(Accuracies):
    """Test accuracies of the networks trained on one kind of images, with the learning rate of each."""

    learning_rates: tuple[float, ...]


@dataclass(frozen=True)
class TransferResult:
    """What was measured, and with which networks."""

    architecture: str
    width: int
    parameterization: str
    parameters: int
    steps: int
    batch: int
    l2: float
    test_images: int
    distilled: TrainedAccuracies
    natural: TrainedAccuracies


@dataclass(frozen=True)
class _Task:
    """A training: of network `number` on the distilled images, or on the natural images of draw `number`."""

    kind: str
    number: int


@dataclass(frozen=True)
class _Outcome:
    task: _Task
    images: int
    accuracy: float
    learning_rate: float


def transfer(experiment: Experiment, x_s: np.ndarray, y_s: np.ndarray, request: TransferRequest) -> TransferResult:
    """Train finite networks on a distilled support and on natural images; return their test accuracies. Collective.

    Args:
        x_s, y_s: preprocessed images `(n, h, w, c)` and labels `(n, classes)`, float64.

    Raises:
        DataError: the data set has no test split.
        ConfigError: a class has fewer images than a natural support wants; the networks do not fit memory.
        NotFiniteError: a training has diverged. Remedy: a lower learning rate.
    """
    config, comm = experiment.config, experiment.comm
    targets = experiment.needed_test_targets()
    per_class = max(1, len(x_s) // experiment.dataset.n_classes)
    draws = [draw_support(experiment.pool, per_class, config.seed, draw) for draw in range(request.natural_draws)]
    tasks = [_Task(DISTILLED, i) for i in range(request.seeds)] + [_Task(NATURAL, i) for i in range(len(draws))]
    network = _network(experiment, request)
    _check_memory(experiment, network, min(request.training.batch, len(x_s)), len(tasks))
    trainer, done = Trainer(network, request.training), []
    for first in range(0, len(tasks), comm.Get_size()):
        mine = first + comm.Get_rank()
        outcome = None
        with agree(comm):
            if mine < len(tasks):
                task = tasks[mine]
                support = (x_s, y_s) if task.kind == DISTILLED else experiment.natural_support(draws[task.number])
                outcome = _train(experiment, trainer, task, support, targets)
        done += list(_told(experiment, gather_objects(comm, outcome)))
    return _result(experiment, network, request, targets.count, done)


def _network(experiment: Experiment, request: TransferRequest) -> FiniteNetwork:
    shape, n_classes = experiment.dataset.image_shape, experiment.dataset.n_classes
    with agree(experiment.comm):
        return FiniteNetwork(experiment.config.architecture, shape, n_classes, request.width, request.parameterization)


def _check_memory(experiment: Experiment, network: FiniteNetwork, batch: int, tasks: int) -> None:
    """Raise `ConfigError` unless as many networks as there are ranks on a node fit its memory. Collective."""
    node = node_communicator(experiment.comm)
    ranks = min(node.Get_size(), tasks)
    node.Free()
    with agree(experiment.comm), single_precision():
        check_memory(
            ranks * network.training_bytes(batch, EVALUATION_ROWS),
            f"{network.architecture.name} of width {network.width} ({network.n_parameters:,} parameters, batches of "
            f"{batch}, {ranks} rank{'s' * (ranks > 1)} of a node)",
            "Lower --width or --batch, or use fewer ranks per node.",
        )


def _train(
    experiment: Experiment, trainer: Trainer, task: _Task, support: tuple[np.ndarray, np.ndarray], targets: Targets
) -> _Outcome:
    """Return what a network reaches that is trained on `support`. Not collective."""
    x_s, y_s = support
    title, steps = f"network {task.number} on {task.kind} images", trainer.training.steps
    report = partial(experiment.reporter.advance, title, total=steps)
    seed = (experiment.config.seed, task.number)
    trained = trainer.train(x_s, y_s, seed, lambda step, loss: report(step, figures=f"loss {loss:.4g}"))
    accuracy = trainer.accuracy(trained, targets.fetch, targets.count)
    return _Outcome(task, len(x_s), accuracy, trained.learning_rate)


def _told(experiment: Experiment, outcomes: list[_Outcome | None]) -> Iterator[_Outcome]:
    """Yield the outcomes that there are, and say each. Not collective."""
    for outcome in outcomes:
        if outcome is not None:
            experiment.reporter.say(
                f"network {outcome.task.number} on {outcome.images} {outcome.task.kind} images: test "
                f"{outcome.accuracy:.2%} (learning rate {outcome.learning_rate:.3g})"
            )
            yield outcome


def _result(
    experiment: Experiment, network: FiniteNetwork, request: TransferRequest, test_images: int, done: list[_Outcome]
) -> TransferResult:
    def measured(kind: str) -> TrainedAccuracies:
        mine = [outcome for outcome in done if outcome.task.kind == kind]
        return TrainedAccuracies(mine[0].images, tuple(o.accuracy for o in mine), tuple(o.learning_rate for o in mine))

    training = request.training
    with single_precision():
        parameters = network.n_parameters
    return TransferResult(
        experiment.config.kernel.architecture, request.width, request.parameterization, parameters, training.steps,
        training.batch, training.l2, test_images, measured(DISTILLED), measured(NATURAL),
    )  # fmt: skip
