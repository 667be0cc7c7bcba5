"""`NeuralKernel.to_hdf5`, by one process and by a communicator."""

import doctest

import h5py
import numpy as np
import pytest

from hpcdistill import NeuralKernel
from hpcdistill.errors import CheckpointError, InputError
from hpcdistill.io.kernel_file import KernelFile

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


@pytest.mark.parametrize("arguments", [{"x1": X, "tile": 0}, {"x1": X[:0]}, {"x1": X, "x2": Y[:0]}, {"x1": X[0, 0, 0]}])
def test_wrong_arguments(comm, shared_tmp_path, arguments):
    with pytest.raises(InputError):
        K.to_hdf5(shared_tmp_path / "k.h5", **arguments, comm=comm)
    assert not list(shared_tmp_path.iterdir())


def test_the_example():
    (test,) = doctest.DocTestFinder(recurse=False).find(NeuralKernel.to_hdf5, "to_hdf5")
    assert doctest.DocTestRunner().run(test).failed == 0
