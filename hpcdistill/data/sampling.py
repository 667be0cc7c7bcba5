"""Random draws of images: each is a function of the seed and a counter, so of nothing else.

Every rank draws the same global indices and takes its part by arithmetic; no generator has a state to save, and the
number of ranks changes nothing. Not collective.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcdistill.errors import ConfigError

# One stream of random numbers for each purpose.
_VALIDATION, _SUPPORT, _BATCH, _SUBSET, _AUGMENTATION, _NOISE, _KERNEL, _TEST = range(8)


@dataclass(frozen=True)
class Pool:
    """The training images that may be drawn, by class.

    Attributes:
        by_class: for each class, the indices of its images in the training split, int64, ascending.
    """

    by_class: tuple[np.ndarray, ...]

    @property
    def indices(self) -> np.ndarray:
        """All indices, ascending."""
        return np.sort(np.concatenate(self.by_class))

    @property
    def smallest_class(self) -> int:
        """Number of images in the class that has fewest."""
        return min(len(members) for members in self.by_class)

    def __len__(self) -> int:
        return sum(len(members) for members in self.by_class)


def make_pool(labels: np.ndarray, n_classes: int) -> Pool:
    """Return the pool of all images with these labels `(n,)`."""
    return Pool(tuple(np.flatnonzero(labels == k) for k in range(n_classes)))


def draw_subset(pool: Pool, count: int, seed: int, key: str) -> Pool:
    """Return a class-balanced pool of `count` of the images, or all of them where `count` is 0.

    Args:
        key: the configuration's key that asked for it, for messages.

    Raises:
        ConfigError: a class has too few images, or would have none.
    """
    if count == 0:
        return pool
    if count < len(pool.by_class):
        raise ConfigError(f"{key}={count} leaves a class without images. Use at least {len(pool.by_class)}.")
    chosen = _draw(pool, count, np.random.default_rng([seed, _SUBSET]), f"{key}={count}")
    return Pool(tuple(np.intersect1d(members, chosen) for members in pool.by_class))


def hold_out(pool: Pool, count: int, seed: int) -> tuple[Pool, np.ndarray]:
    """Split `count` images off the pool for validation; return the rest and the held-out indices, ascending.

    They are class-balanced where no class gives more than half of its images, else of each class the same share.

    Raises:
        ConfigError: a class would have no images left.
    """
    if count == 0:
        return pool, np.empty(0, np.int64)
    rng = np.random.default_rng([seed, _VALIDATION])
    balanced = -(-count // len(pool.by_class)) <= pool.smallest_class // 2
    held = _draw(pool, count, rng, "data.validation") if balanced else _draw_shares(pool, count, rng)
    rest = Pool(tuple(np.setdiff1d(members, held) for members in pool.by_class))
    if rest.smallest_class == 0:
        raise ConfigError(f"data.validation={count} leaves a class without training images. Make it smaller.")
    return rest, np.sort(held)


def split_off_test(labels: np.ndarray, n_classes: int, share: float, seed: int) -> np.ndarray:
    """Return the indices, ascending, of a share of the images with these labels `(n,)`, the same share of each class.

    Raises:
        ConfigError: a class would have no images left, or there is nothing to test on.
    """
    pool = make_pool(labels, n_classes)
    held = _draw_shares(pool, round(share * len(pool)), np.random.default_rng([seed, _TEST]))
    if not len(held) or (np.bincount(labels[held], minlength=n_classes) == [len(m) for m in pool.by_class]).any():
        raise ConfigError(f"data.test_share={share} leaves a class without training images, or nothing to test on. "
                          "Set data.test_share=0 to measure nothing, or add a test split.")  # fmt: skip
    return np.sort(held)


def draw_support(pool: Pool, per_class: int, seed: int, draw: int = 0) -> np.ndarray:
    """Return indices of `per_class` random images of each class, ordered by class.

    Raises:
        ConfigError: a class has too few images.
    """
    n_classes = len(pool.by_class)
    rng = np.random.default_rng([seed, _SUPPORT, draw])
    return _draw(pool, per_class * n_classes, rng, f"support.images_per_class={per_class}")


def draw_batch(pool: Pool, count: int, seed: int, step: int, balance: str = "classes") -> np.ndarray:
    """Return indices of `count` random images in random order: the target batch of a step.

    A `count` of 0 means all images, in ascending order.

    Args:
        balance: "classes": as many of each class; where `count` is no multiple of their number, random classes get one
            more, and a class with fewer images than its share is drawn with replacement. "proportional": of each class
            in proportion to its size.
    """
    if count == 0:
        return pool.indices
    rng = np.random.default_rng([seed, _BATCH, step])
    if balance == "proportional":
        return rng.permutation(_draw_shares(pool, count, rng))
    drawn = [rng.choice(members, size=share, replace=share > len(members))
             for members, share in zip(pool.by_class, _balanced(pool, count, rng), strict=True)]  # fmt: skip
    return rng.permutation(np.concatenate(drawn))


def augmentation_generator(seed: int, step: int) -> np.random.Generator:
    """Return the generator of what happens to the images of a step's batch."""
    return np.random.default_rng([seed, _AUGMENTATION, step])


def noise_generator(seed: int) -> np.random.Generator:
    """Return the generator of the noise in a support: where it is, and what."""
    return np.random.default_rng([seed, _NOISE])


def draw_kernel(count: int, seed: int, step: int) -> int:
    """Return which of `count` kernels a step uses."""
    return int(np.random.default_rng([seed, _KERNEL, step]).integers(count))


def _draw(pool: Pool, count: int, rng: np.random.Generator, key: str) -> np.ndarray:
    n_classes = len(pool.by_class)
    shares = _balanced(pool, count, rng)
    for k, (members, share) in enumerate(zip(pool.by_class, shares, strict=True)):
        if share > len(members):
            raise ConfigError(
                f"{key} asks for {share} images of class {k}, which has {len(members)}. "
                f"Class-balanced draws can have at most {n_classes * pool.smallest_class} images."
            )
    drawn = [rng.choice(m, size=s, replace=False) for m, s in zip(pool.by_class, shares, strict=True)]
    return np.concatenate(drawn)


def _balanced(pool: Pool, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return how many images of each class a class-balanced draw has."""
    n_classes = len(pool.by_class)
    shares = np.full(n_classes, count // n_classes)
    shares[rng.permutation(n_classes)[: count % n_classes]] += 1
    return shares


def _draw_shares(pool: Pool, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` images, or all there are, of each class in proportion to its size."""
    sizes = np.array([len(members) for members in pool.by_class])
    exact = sizes * min(1.0, count / sizes.sum())
    shares = np.floor(exact).astype(np.int64)
    most_left = np.argsort(shares - exact, kind="stable")
    shares[most_left[: min(count, sizes.sum()) - shares.sum()]] += 1
    drawn = [rng.choice(m, size=s, replace=False) for m, s in zip(pool.by_class, shares, strict=True)]
    return np.concatenate(drawn)
