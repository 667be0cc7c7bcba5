"""Errors of the `native` kernels on real images: float32 against float64, and float64 against neural-tangents.

usage: python jobs/kernel_accuracy.py --data ROOT [--dataset mnist cifar-10 …] [--architecture ConvNet] [--kind ntk]

ROOT holds the data sets as `hpcdistill prepare` leaves them; those that are missing are left out. Images are
standardised and rounded to float32, so that both precisions see the same ones. Errors of K are relative to each entry.
Errors of ∇, the gradient of Σ K weighted at random, are the largest relative to its largest entry, and in norm.
"""

import argparse

import numpy as np

from hpcdistill.architecture import Architecture, parse_architecture
from hpcdistill.data.preprocess import fit_standardisation
from hpcdistill.data.readers import load_dataset
from hpcdistill.data.sampling import draw_batch, make_pool
from hpcdistill.errors import DataError
from hpcdistill.kernels.select import choose_backend

_COLUMNS = ("K, largest", "K, median", "∇, largest", "∇, norm")


def main() -> None:
    """Print a line per data set and comparison."""
    options = _options()
    architecture = parse_architecture(options.architecture, options.kind)
    print(f"{'data set':<14} {'compared':<27} {'pairs':>6}", *(f"{column:>11}" for column in _COLUMNS))
    for name in options.dataset:
        try:
            x1, x2 = _images(name, options.data, options.images, options.seed)
        except DataError as error:
            print(f"{name:<14} left out: {error}")
            continue
        double = _evaluate(architecture, "native", "float64", x1, x2)
        _report(name, "float32 to float64", _evaluate(architecture, "native", "float32", x1, x2), double)
        few1, few2 = x1[: options.peer_images[0]], x2[: options.peer_images[1]]
        if few1.size and few2.size:
            double = _evaluate(architecture, "native", "float64", few1, few2)
            peer = _evaluate(architecture, "tangents", "float64", few1, few2)
            _report(name, "float64 to neural-tangents", double, peer)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", metavar="ROOT", required=True, help="folder of the data sets")
    parser.add_argument("--dataset", nargs="+", default=["mnist", "fashion-mnist", "cifar-10"], help="default: these")
    parser.add_argument("--architecture", default="ConvNet", help="default: ConvNet")
    parser.add_argument("--kind", choices=("ntk", "nngp"), default="ntk", help="default: ntk")
    parser.add_argument("--images", metavar="N", nargs=2, type=int, default=[10, 40], help="default: 10 and 40")
    help_peer = "how many of these go through neural-tangents, which is slow; 0 0: none (default: 2 and 4)"
    parser.add_argument("--peer-images", metavar="N", nargs=2, type=int, default=[2, 4], help=help_peer)
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    return parser.parse_args()


def _images(name: str, root: str, counts: list[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two disjoint draws of standardised training images, as float32."""
    data = load_dataset(name, root)
    pool = make_pool(data.train.labels, data.n_classes)
    standardisation = fit_standardisation(data.train.images, pool.indices, data.display_range)
    drawn = draw_batch(pool, sum(counts), seed, 0)
    images = standardisation.apply(data.train.images[drawn]).astype(np.float32)
    return images[: counts[0]], images[counts[0] :]


def _evaluate(
    architecture: Architecture, backend_name: str, dtype: str, x1: np.ndarray, x2: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return K and the gradient of its sum, weighted at random, with respect to x1."""
    backend = choose_backend(architecture, x1.shape[1:], dtype, backend_name)
    h1, h2 = backend.prepare(x1), backend.prepare(x2)
    weights = np.random.default_rng(0).normal(size=(len(x1), len(x2)))
    return backend.block(h1, h2), backend.block_vjp(h1, h2, weights)


def _report(
    name: str, compared: str, actual: tuple[np.ndarray, np.ndarray], reference: tuple[np.ndarray, np.ndarray]
) -> None:
    entries = np.abs(actual[0] / reference[0].astype(np.float64) - 1)
    difference = np.abs(actual[1] - reference[1].astype(np.float64))
    largest = difference.max() / np.abs(reference[1]).max()
    norm = np.linalg.norm(difference) / np.linalg.norm(reference[1])
    errors = (entries.max(), np.median(entries), largest, norm)
    print(f"{name:<14} {compared:<27} {entries.size:>6}", *(f"{error:>11.1e}" for error in errors))


if __name__ == "__main__":
    main()
