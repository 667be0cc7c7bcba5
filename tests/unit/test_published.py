"""Published figures are found by setting, complete and with their source."""

import subprocess
import sys

import pytest

from hpcdistill.paper.cells import cells
from hpcdistill.paper.published import published_lines


def test_label_solve_with_and_without_zca():
    source = "released sets of arXiv:2107.13034"
    zca = published_lines("cifar-10", "label_solve", "ConvNet3", True)
    assert zca == [(source, {1: 26.51, 10: 52.90, 50: 65.48})]
    assert published_lines("cifar-10", "label_solve", "ConvNet3", False) == [(source, {1: 26.38, 10: 46.44, 50: 56.89})]
    assert published_lines("cifar-100", "label_solve", "ConvNet", True)[0][1] == {1: 23.81, 5: 34.93, 10: 39.17}


def test_kip_beside_what_its_paper_compares_it_with():
    lines = published_lines("cifar-10", "kip", "ConvNet", True)
    assert [name for name, _ in lines] == [
        "arXiv:2107.13034, camera-ready, unconfirmed", "draft in arXiv:2107.13034", "DC in arXiv:2107.13034",
        "DSA in arXiv:2107.13034"]  # fmt: skip
    assert lines[0][1] == {1: 64.7, 10: 75.6, 50: 80.6}
    assert lines[2][1] == {1: 28.3, 10: 44.9, 50: 53.9}


UNPUBLISHED = [
    ("digits", "kip", "ConvNet", False),
    ("cifar-10", "krr", "ConvNet", True),
    ("cifar-10", "kip", "ConvNet", False),
    ("mnist", "kip", "FC1", False),
]


@pytest.mark.parametrize("setting", UNPUBLISHED)
def test_nothing_published(setting):
    assert published_lines(*setting) == []


def test_every_figure_is_on_a_line():
    settings = {(cell.row.dataset, cell.method, cell.row.architecture, cell.row.zca) for cell in cells()}
    lines = [line for setting in settings for line in published_lines(*setting)]
    assert sum(len(line) for _, line in lines) == sum(1 + len(cell.also) for cell in cells())
    assert all("arXiv:" in name for name, _ in lines)
    assert all(0 < accuracy < 100 for _, line in lines for accuracy in line.values())


def test_needs_neither_mpi_nor_jax_nor_numpy():
    check = "import sys, hpcdistill.paper.published as p; p.published_lines('mnist', 'kip', 'ConvNet', False); " \
            "sys.exit(any(m in sys.modules for m in ('mpi4py', 'jax', 'numpy')))"  # fmt: skip
    subprocess.run([sys.executable, "-c", check], check=True)
