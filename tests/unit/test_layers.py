"""The rule of the house: imports go downwards only. Read from the syntax trees."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "hpcdistill"
BELOW_RUN = {"errors", "whole_file", "digest", "hdf5", "schema", "config", "architecture", "jax_runtime", "progress",
             "gpu", "mpi", "data", "kernels", "linalg", "learning", "io"}  # fmt: skip
#: Each layer, and what it may import besides itself. `__main__` sees all.
MAY_IMPORT = {
    "errors": set(),
    "whole_file": set(),
    "digest": set(),
    "hdf5": set(),
    "attempt": set(),
    "labels_file": set(),
    "torch_file": {"errors"},
    "architecture": {"errors"},
    "schema": {"errors"},
    "config": {"errors", "architecture", "schema"},
    "jax_runtime": set(),
    "launcher": {"errors"},
    "progress": set(),
    "gpu": {"errors"},
    "mpi": {"errors", "attempt", "launcher", "gpu"},
    "data": {"errors", "whole_file", "digest", "hdf5", "labels_file", "torch_file"},
    "native": set(),
    "kernels": {"errors", "architecture", "jax_runtime", "gpu", "native"},
    "linalg": {"errors", "gpu", "mpi", "native"},
    "learning": {"errors", "config", "architecture", "jax_runtime", "gpu", "mpi", "kernels", "linalg"},
    "io": {"errors", "whole_file", "digest", "hdf5", "labels_file", "torch_file", "mpi"},
    "run": BELOW_RUN | {"attempt"},
    "api": BELOW_RUN | {"run"},
    "neural_tangents": {"api", "errors"},
    "bench": BELOW_RUN | {"run"},
    "paper": {"errors", "config", "schema", "data", "io"},
    "cluster": {"errors", "whole_file", "attempt", "config", "schema", "progress", "io"},
    "commands": BELOW_RUN | {"attempt", "run", "bench", "cluster", "paper", "launcher", "schema"},
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


LOGIN_NODE = ["hpcdistill.config", "hpcdistill.__main__", "hpcdistill.io.checkpoint", "hpcdistill.cluster.submission",
              "hpcdistill.cluster.watch", "hpcdistill.cluster.task"]  # fmt: skip


@pytest.mark.parametrize("module", LOGIN_NODE)
def test_a_login_node_needs_neither_mpi_nor_jax(module):
    check = f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('mpi4py', 'jax', 'cupy')))"
    subprocess.run([sys.executable, "-c", check], check=True)
