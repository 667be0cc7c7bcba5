"""What `cost.exchange` says of a step and of a chunk is what is counted."""

import numpy as np
import pytest
from problems import CLASSES as FEW
from problems import images, kernels, targets

import hpcdistill
from hpcdistill.bench.step import CLASSES, make_problem
from hpcdistill.config import parse_config
from hpcdistill.cost.exchange import StepSizes, exchanged_per_chunk, exchanged_per_step
from hpcdistill.cost.work import Place
from hpcdistill.data.readers import load_dataset
from hpcdistill.learning.kernel_operator import KernelOperator
from hpcdistill.learning.krr import KernelRegression
from hpcdistill.linalg.conjugate_gradients import conjugate_gradients
from hpcdistill.linalg.partial_cholesky import PartialCholesky
from hpcdistill.methods.krr.work import iteration_messages
from hpcdistill.methods.label_solve.reduction import QR, reduce_chunk
from hpcdistill.mpi import partition
from hpcdistill.mpi import traffic as traffic_module
from hpcdistill.mpi.collectives import gather_objects, sum_array
from hpcdistill.mpi.partition import block_range, piece_rows
from hpcdistill.mpi.traffic import counted
from hpcdistill.run.experiment import choose_kernels
from hpcdistill.run.store import MemoryStore

SHAPE, N = (4, 5, 2), 9


def messages(calls, n_bytes):
    return {name: (calls[name], n_bytes[name]) for name in calls}


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({}, {}),
        ({"solve.method": "replicated"}, {"chooses_solver": False}),
        ({"solve.method": "scalapack"}, {"chooses_solver": False, "is_distributed": True}),
        ({"kip.learn_labels": "false"}, {"learns_labels": False}),
        ({"kip.temperature_rate": 0}, {"learns_temperature": False}),
        ({"kip.loss": "squared_error"}, {"learns_temperature": False}),
    ],
    ids=str,
)
def test_a_step(comm, settings, sizes):
    given = {"kernel.architecture": "FC1", "kip.batch": 30, "solve.reg": 1e-3} | settings
    config = parse_config("", [f"{key}={value}" for key, value in given.items()])
    problem = make_problem(config, choose_kernels(config, SHAPE), SHAPE, N)
    found = {name: (one["calls"], one["bytes"]) for name, one in problem.step(comm).collectives.items()}
    wanted = StepSizes(N, 40, CLASSES, **{"learns_temperature": True} | sizes)
    assert found == exchanged_per_step(wanted, comm.Get_size(), in_run=False)


def test_a_step_of_a_run(comm, monkeypatch):
    data, seen = load_dataset("digits").train, {}

    def note_step(store, comm, step, history):
        (traffic,) = traffic_module._listeners.get()
        seen[step] = messages(dict(traffic.calls), dict(traffic.bytes))

    monkeypatch.setattr(MemoryStore, "note_step", note_step)
    config = {"kernel.architecture": "FC1", "kip.steps": 12, "kip.evaluate_every": 100, "checkpoint.every": 100}
    hpcdistill.distill(data.images, data.labels, config=config, comm=comm)
    wanted = exchanged_per_step(StepSizes(10, 64, 10, learns_temperature=True), comm.Get_size())
    for step in (10, 11):  # 8 and 12 are saved
        before = seen[step - 1]
        found = {name: tuple(np.subtract(seen[step][name], before.get(name, (0, 0)))) for name in seen[step]}
        assert {name: counts for name, counts in found.items() if counts != (0, 0)} == wanted


def test_a_chunk_of_label_solve(comm, monkeypatch):
    n, count, ranks = 100, 1000, comm.Get_size()
    monkeypatch.setattr(partition, "QUICK_PIECE_ENTRIES", 0)  # pieces of 64 rows, which are put together first
    support = KernelRegression(comm, kernels(), images(n, 0), 1e-6)
    columns = n + FEW
    with counted() as traffic:
        reduce_chunk(comm, support, targets(count), np.zeros((columns, columns)), QR)
    wanted = exchanged_per_chunk(columns, count, piece_rows(n, count, is_quick=True), ranks)
    found = messages(traffic.calls, traffic.bytes)
    each = {name: found[name] for name in ("Bcast", "allreduce") if name in found}
    assert each == {name: wanted[name] for name in ("Bcast", "allreduce") if name in wanted}
    together = {
        name: tuple(sum_array(comm, np.array(found.get(name, (0, 0))))) for name in ("Send", "Recv", "Fetch_and_op")
    }
    assert together["Send"] == together["Recv"]
    assert np.all(np.array(together["Send"]) <= wanted.get("Send", (0, 0)))
    assert together["Fetch_and_op"] == wanted.get("Fetch_and_op", (0, 0))
    assert len(gather_objects(comm, None)) == ranks


def test_a_step_of_conjugate_gradients(comm):
    n, rank, columns = 40, 12, 3
    factor = np.random.default_rng(0).normal(size=(n, n))
    k, (start, stop) = factor @ factor.T, block_range(n, comm.Get_size(), comm.Get_rank())
    operator = KernelOperator(comm, n, lambda rows, columns: k[slice(*rows), slice(*columns)], 1 << 20)
    preconditioner = PartialCholesky(comm, k.diagonal(), lambda pivots: k[start:stop, pivots], rank, 0)
    steps = conjugate_gradients(operator.multiply, preconditioner.precondition, np.ones((n, columns)),
                                np.full(columns, 1e-3), 1e-13, 100)  # fmt: skip
    next(steps)
    with counted() as traffic:
        next(steps)
    assert messages(traffic.calls, traffic.bytes) == iteration_messages(n, rank, columns, Place(comm.Get_size()))
