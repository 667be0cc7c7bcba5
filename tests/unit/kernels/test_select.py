"""Choice of the backend, and what it imports."""

import subprocess
import sys

import numpy as np
import pytest

from hpcdistill.architecture import Architecture, parse_architecture
from hpcdistill.errors import ConfigError, NotSuitable
from hpcdistill.kernels import select


@pytest.mark.parametrize(("text", "name"), [("FC2", "fc"), ("conv relu flatten dense", "native")])
@pytest.mark.parametrize("dtype", ["float32", np.float64])
def test_auto_takes_the_first_that_is_suitable(text, name, dtype):
    backend = select.choose_backend(parse_architecture(text), (4, 4, 1), dtype)
    assert (backend.name, backend.dtype) == (name, np.dtype(dtype))


def test_a_general_backend_can_be_asked_for():
    assert select.choose_backend(parse_architecture("FC1"), (4, 4, 1), "float64", "tangents").name == "tangents"


@pytest.mark.parametrize(
    ("text", "shape", "dtype", "requested", "message"),
    [
        ("FC1", (4, 4, 1), "float64", "gpu", "unknown. Valid: auto, fc, cuda, native, tangents"),
        (
            "Myrtle-5",
            (8, 8, 3),
            "float64",
            "fc",
            "fully connected networks only.*Take kernel.backend=auto.*Valid: auto, cuda, native, tangents",
        ),
        ("ConvNet", (4, 9, 3), "float64", "auto", "has 3 poolings"),
        ("FC1", (4, 4, 1), "float16", "auto", "float16.*Valid: float32, float64"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_remedy(text, shape, dtype, requested, message):
    with pytest.raises(ConfigError, match=message):
        select.choose_backend(parse_architecture(text), shape, dtype, requested)


def test_a_slow_choice_is_explained(monkeypatch):
    lines = []
    deep = parse_architecture("conv relu " * 40 + "flatten dense")
    assert select.choose_backend(deep, (4, 4, 1), "float64", log=lines.append).name == "tangents"
    assert len(lines) == 1
    assert "native: it takes up to 64 layers" in lines[0]
    select.choose_backend(parse_architecture("ConvNet"), (8, 8, 1), "float64", log=lines.append)
    select.choose_backend(deep, (4, 4, 1), "float64", "tangents", log=lines.append)
    assert len(lines) == 1


def test_every_reason_is_given_when_none_is_suitable(monkeypatch):
    def refuse(*_):
        raise NotSuitable("it is closed today")

    monkeypatch.setattr("hpcdistill.kernels.fully_connected.FullyConnectedBackend", refuse)
    monkeypatch.setattr(select, "BACKENDS", {"fc": select.BACKENDS["fc"]})
    architecture = Architecture("FC1", ("flatten", "dense"))
    with pytest.raises(ConfigError, match="fc: it is closed today"):
        select.choose_backend(architecture, (4, 4, 1), "float64")


def test_fully_connected_networks_import_neither_jax_nor_mpi():
    program = """
import sys
import numpy as np
from hpcdistill.architecture import parse_architecture
from hpcdistill.kernels.select import choose_backend
backend = choose_backend(parse_architecture("FC1"), (2, 2, 1), "float32")
backend.block(backend.prepare(np.ones((2, 2, 2, 1))), backend.prepare(np.ones((2, 2, 2, 1))))
print(sorted({"jax", "neural_tangents", "mpi4py.MPI"} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
