"""`doctor` ends, and says what is wrong on which rank, wherever one rank alone fails."""

import pytest

from hpcdistill.commands import doctor

pytestmark = pytest.mark.most_ranks(2)


def fail(*arguments, **options):
    raise OSError("this rank has lost it")


PLACES = {
    "MPI": (doctor._mpi, "mpi4py.MPI.Get_library_version"),
    "GPU": (doctor._gpu, "hpcdistill.gpu.cupy_device.find_device"),
    "ScaLAPACK": (doctor._scalapack, "hpcdistill.linalg.blockcyclic.near_square_grid"),
    "kernels": (lambda comm: doctor._kernels(), "hpcdistill.kernels.select.choose_backend"),
    "JAX": (lambda comm: doctor._jax(), "jax.default_backend"),
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("failing", ["first", "last"])
def test_one_rank_fails(comm, monkeypatch, capfd, name, failing):
    check, place = PLACES[name]
    rank = 0 if failing == "first" else comm.Get_size() - 1
    if comm.Get_rank() == rank:
        monkeypatch.setattr(place, fail)
    assert not doctor._check(comm, name, lambda: check(comm))
    said = capfd.readouterr().out
    if comm.Get_rank() == 0:
        assert said.startswith("FAIL")
        assert "this rank has lost it" in said
        if name in ("MPI", "kernels", "JAX"):  # of what needs no other rank, each rank says how it went
            assert (f"rank {rank}:" in said) == (rank > 0)
    else:
        assert said == ""


def test_a_folder_that_cannot_be_made(comm, monkeypatch):
    monkeypatch.setattr("tempfile.mkdtemp", fail)
    assert not doctor._check(comm, "HDF5", lambda: doctor._hdf5(comm))
