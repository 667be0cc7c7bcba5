"""`NeuralKernel.to_hdf5`, by one process and by a communicator."""

import doctest

import h5py
import numpy as np
import pytest

from hpcdistill import NeuralKernel
from hpcdistill.errors import CheckpointError, InputError, NotFiniteError
from hpcdistill.io.kernel_file import KernelFile

pytestmark = pytest.mark.most_ranks(2)

K = NeuralKernel("conv relu pool flatten dense")
X = np.random.default_rng(0).normal(size=(23, 6, 5, 2))
Y = np.random.default_rng(1).normal(size=(9, 6, 5, 2))


def matrix(path):
    with h5py.File(path) as file:
        return file["kernel"][...]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("second", [None, Y])
def test_it_is_the_kernel(comm, shared_tmp_path, second, compress):
    path = shared_tmp_path / "k.h5"
    K.to_hdf5(path, X, second, tile=4, comm=comm, compress=compress)
    np.testing.assert_allclose(matrix(path), K(X, second), rtol=1e-13)
    comm.Barrier()
    if comm.Get_rank() == 0 and not compress:
        before, file = matrix(path), KernelFile.open(path)
        file.forget((4, 1))
        assert file.missing() == [(4, 1)]
        K.to_hdf5(path, X, second, tile=4)
        assert file.missing() == []
        np.testing.assert_array_equal(matrix(path), before)


def test_each_tile_is_told(comm, shared_tmp_path):
    told = []
    k = NeuralKernel("FC1", progress=lambda done, total: told.append((done, total)))
    k.to_hdf5(shared_tmp_path / "k.h5", X, tile=8, comm=comm)
    assert told[-1] == (6, 6)
    assert told == sorted(told)


@pytest.mark.parametrize(("kernel", "arguments", "message"), [
    (K, {"x1": X + 1}, "is another kernel .rows_sha256"),
    (K, {"x1": X, "x2": Y}, "columns_sha256"),
    (K, {"x1": X, "tile": 5}, "tile: 4 → 5"),
    (NeuralKernel(K.network, dtype="float32"), {"x1": X.astype("f4")}, "dtype: 'float64' → 'float32'"),
    (NeuralKernel(K.network, b_std=0.5), {"x1": X}, "b_std: .*0.1.* → 0.5"),
])  # fmt: skip
def test_another_kernel(comm, shared_tmp_path, kernel, arguments, message):
    K.to_hdf5(shared_tmp_path / "k.h5", X, tile=4, comm=comm)
    with pytest.raises(CheckpointError, match=message):
        kernel.to_hdf5(shared_tmp_path / "k.h5", **({"tile": 4} | arguments), comm=comm)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"tile": 0}, "tile must be a whole number from 1 to 16384, not 0"),
    ({"tile": 1.5}, "tile must be a whole number from 1 to 16384, not 1.5"),
    ({"x1": X[:0]}, "A kernel of 0 by 0 images has no tiles"),
    ({"x2": Y[:0]}, "A kernel of 23 by 0 images has no tiles"),
    ({"x1": X[0, 0, 0]}, "Images must be"),
    ({"path": "nowhere/k.h5"}, "nowhere: no such folder"),
    ({"path": "a" * 300}, "File name too long"),
])  # fmt: skip
def test_wrong_arguments(comm, shared_tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        K.to_hdf5(**{"path": shared_tmp_path / "k.h5", "x1": X, "comm": comm} | arguments)
    assert not list(shared_tmp_path.iterdir())


@pytest.mark.parametrize(("arguments", "message"), [
    ({"path": None}, "path must be a str or a Path, not None"),
    ({"comm": 3}, "comm must be an intracommunicator of mpi4py, or None, not 3"),
])  # fmt: skip
def test_arguments_of_wrong_types(comm, shared_tmp_path, arguments, message):
    with pytest.raises(TypeError, match=message):
        K.to_hdf5(**{"path": shared_tmp_path / "k.h5", "x1": X, "comm": comm} | arguments)
    assert not list(shared_tmp_path.iterdir())


@pytest.mark.parametrize(("name", "other"), [
    ("x1", {"x1": X + 1}),
    ("x2", {"x2": Y + 1}),
    ("x2", {"x2": None}),
    ("tile", {"tile": 5}),
    ("path", {"path": "elsewhere"}),
    ("compress", {"compress": True}),
])  # fmt: skip
def test_ranks_that_want_different_things(comm, shared_tmp_path, name, other):
    if comm.Get_size() == 1:
        pytest.skip("one rank wants one thing")
    mine = {"path": shared_tmp_path / "k.h5", "x1": X, "x2": Y, "tile": 4}
    if comm.Get_rank() == comm.Get_size() - 1:
        mine |= other
    with pytest.raises(InputError, match=f"Rank {comm.Get_size() - 1} gives another {name}.* than rank 0"):
        K.to_hdf5(**mine, comm=comm)
    assert not list(shared_tmp_path.iterdir())


def test_an_error_of_one_rank_is_everybodys(comm, shared_tmp_path):
    wrong = comm.Get_rank() == comm.Get_size() - 1
    with pytest.raises(InputError, match="Images must be"):
        K.to_hdf5(shared_tmp_path / "k.h5", X[0, 0, 0] if wrong else X, comm=comm)


def test_another_backend_does_not_go_on(comm, shared_tmp_path):
    path = shared_tmp_path / "k.h5"
    K.to_hdf5(path, X, tile=8, comm=comm)
    NeuralKernel(K.network, backend="tangents").to_hdf5(path, X, tile=8, comm=comm)  # there is nothing left to do
    comm.Barrier()
    if comm.Get_rank() == 0:
        KernelFile.open(path).forget((2, 1))
    comm.Barrier()
    with pytest.raises(CheckpointError, match=f"{path}: was begun with backend 'native .*'tangents'"):
        NeuralKernel(K.network, backend="tangents").to_hdf5(path, X, tile=8, comm=comm)


def test_the_backend_that_it_was_begun_with_goes_on(comm, shared_tmp_path):
    path = shared_tmp_path / "k.h5"
    NeuralKernel(K.network, backend="tangents").to_hdf5(path, X, tile=8, comm=comm)
    comm.Barrier()
    before = matrix(path)
    comm.Barrier()
    if comm.Get_rank() == 0:
        KernelFile.open(path).forget((2, 1))
    comm.Barrier()
    K.to_hdf5(path, X, tile=8, comm=comm)
    np.testing.assert_array_equal(matrix(path), before)


def test_a_kernel_that_is_not_finite(comm, shared_tmp_path):
    with pytest.raises(NotFiniteError, match="is not finite"):
        NeuralKernel(K.network, w_std=1e100).to_hdf5(shared_tmp_path / "k.h5", X, tile=8, comm=comm)


def test_the_example():
    (test,) = doctest.DocTestFinder(recurse=False).find(NeuralKernel.to_hdf5, "to_hdf5")
    assert doctest.DocTestRunner().run(test).failed == 0
