"""The rule of the house: imports go downwards only. Read from the syntax trees."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from hpcdistill.method import own_methods

PACKAGE = Path(__file__).parents[2] / "hpcdistill"
BELOW_RUN = {"errors", "plugins", "method", "backend", "whole_file", "digest", "hdf5", "schema", "config",
             "architecture", "jax_runtime", "progress", "gpu", "mpi", "data", "kernels", "linalg", "learning",
             "io"}  # fmt: skip
#: Each layer, and what it may import besides itself. `__main__` sees all.
MAY_IMPORT = {
    "errors": set(),
    "whole_file": set(),
    "digest": set(),
    "hdf5": {"whole_file"},
    "attempt": set(),
    "labels_file": set(),
    "torch_file": {"errors"},
    "architecture": {"errors"},
    "schema": {"errors"},
    "plugins": {"errors"},
    "method": {"errors", "plugins", "config", "data", "cost"},  # the last three for types alone
    "backend": {"errors", "plugins"},
    "config": {"errors", "architecture", "schema", "method", "backend"},
    "jax_runtime": set(),
    "launcher": {"errors"},
    "progress": set(),
    "gpu": {"errors"},
    "mpi": {"errors", "attempt", "launcher", "gpu"},
    "data": {"errors", "plugins", "whole_file", "digest", "hdf5", "labels_file", "torch_file"},
    "native": set(),
    "triangles": set(),
    "kernels": {"errors", "plugins", "backend", "architecture", "jax_runtime", "gpu", "native", "triangles"},
    "linalg": {"errors", "gpu", "mpi", "native", "triangles"},
    "learning": {"errors", "config", "architecture", "jax_runtime", "gpu", "mpi", "kernels", "linalg"},
    "io": {"errors", "whole_file", "digest", "hdf5", "labels_file", "torch_file", "mpi", "method"},
    "run": BELOW_RUN | {"attempt", "cost"},
    "cost": {"errors", "whole_file", "mpi", "linalg"},  # of the last two, arithmetic alone
    "methods": BELOW_RUN | {"run", "cost"},
    "api": BELOW_RUN | {"run"},
    "neural_tangents": {"api", "errors"},
    "bench": BELOW_RUN | {"run", "methods", "cost"},
    "paper": {"errors", "method", "config", "schema", "data", "io"},
    "cluster": {"errors", "plugins", "whole_file", "attempt", "config", "schema", "progress", "io", "method"},
    "commands": BELOW_RUN | {"attempt", "run", "bench", "cluster", "paper", "launcher", "schema", "cost"},
}
MPI_FREE = ("errors", "whole_file", "digest", "hdf5", "attempt", "launcher", "architecture", "schema", "config",
            "jax_runtime", "progress", "gpu", "data", "kernels", "cluster", "labels_file", "torch_file", "api",
            "neural_tangents")  # fmt: skip


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def layer_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


SOURCES = [p for p in sorted(PACKAGE.rglob("*.py")) if layer_of(p) not in ("__init__", "__main__")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downwards(path):
    mine = layer_of(path)
    used = {name.split(".")[1] for name in imports_of(path) if name.startswith("hpcdistill.")}
    assert used <= MAY_IMPORT[mine] | {mine}
    if mine in MPI_FREE:
        assert not any(name.startswith("mpi4py") for name in imports_of(path))


def test_only_the_runtime_names_comm_world():
    assert [p.name for p in PACKAGE.rglob("*.py") if "MPI.COMM_WORLD" in p.read_text()] == ["runtime.py"]


#: What may name a method: the registry, the methods, what is about one, and examples.
MAY_NAME = ("method.py", "methods/", "paper/", "bench/", "api/distillation.py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_methods_are_known_by_the_registry_alone(path):
    if str(path.relative_to(PACKAGE)).startswith(MAY_NAME):
        return
    assert not [name for name in imports_of(path) if name.startswith("hpcdistill.methods")]
    tree = list(ast.walk(ast.parse(path.read_text())))
    named = {node.value for node in tree if isinstance(node, ast.Constant)}
    named |= {node.attr for node in tree if isinstance(node, ast.Attribute)}
    assert not named & own_methods().keys()


def test_the_registry_loads_no_configuration():
    check = "import sys, hpcdistill.method; sys.exit(any(m in sys.modules for m in ('hpcdistill.config', 'numpy')))"
    subprocess.run([sys.executable, "-c", check], check=True)


LOGIN_NODE = ["hpcdistill.config", "hpcdistill.methods.kip",
              "hpcdistill.__main__", "hpcdistill.io.checkpoint", "hpcdistill.cluster.submission",
              "hpcdistill.cluster.watch", "hpcdistill.cluster.task", "hpcdistill.cost.scaling",
              "hpcdistill.cost.plan", "hpcdistill.methods.kip.work", "hpcdistill.methods.krr.work",
              "hpcdistill.methods.label_solve.work", "hpcdistill.run.planning"]  # fmt: skip


@pytest.mark.parametrize("module", LOGIN_NODE)
def test_a_login_node_needs_neither_mpi_nor_jax(module):
    check = f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('mpi4py', 'jax', 'cupy')))"
    subprocess.run([sys.executable, "-c", check], check=True)
