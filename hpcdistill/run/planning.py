"""A configuration as `cost.plan` wants it: its images, its kernel, its work. Needs neither MPI nor JAX."""

from __future__ import annotations

from hpcdistill.config import Config
from hpcdistill.cost.plan import Case, Kernel, total_seconds
from hpcdistill.cost.rates import Device
from hpcdistill.cost.work import Images, Work
from hpcdistill.data.registry import KNOWN
from hpcdistill.errors import ConfigError
from hpcdistill.method import find_method
from hpcdistill.progress import duration
from hpcdistill.run.reading import reading_of

#: Images of a support, at most: their kernel fits no node, and its tiles are more than can be counted in a second.
MOST_SUPPORT = 100_000


def images_of(config: Config, *, read: bool = True) -> Images | None:
    """Return the images of a configuration. Those of a known data set need not be there.

    Args:
        read: whether data of one's own are read, to be counted; else None is returned for them.

    Raises:
        ConfigError, DataError: as a run would: there are no such data, or more are asked for than there are.
    """
    data = config.data
    known = KNOWN.get(data.name)
    if known is not None:
        (train, test, *shape), classes, own_validation = known.sizes, len(known.class_names), 0
    elif not read:
        return None
    else:
        from hpcdistill.data.readers import load_dataset  # which takes a while

        dataset = load_dataset(data.name, data.root or None, reading_of(config))
        train, test = dataset.n_train, 0 if dataset.test is None else len(dataset.test)
        shape, classes, own_validation = list(dataset.image_shape), dataset.n_classes, dataset.validation
    for key, there in (("train_size", train), ("test_size", test)):
        if getattr(data, key) > there:
            raise ConfigError(f"data.{key}={getattr(data, key)}, but there are {there} images.")
    used = data.train_size or train
    if data.validation >= used:
        raise ConfigError(f"data.validation={data.validation} leaves none of {used} training images.")
    _check_support(config, used - data.validation, classes)
    height, width, channels = shape
    config.architecture.check_image_size(height, width)
    return Images(used - data.validation, data.validation or own_validation, data.test_size or test,
                  (height, width, channels), classes, train + test + own_validation)  # fmt: skip


def _check_support(config: Config, train: int, classes: int) -> None:
    support = config.support
    n = support.images_per_class * classes
    asked = f"support.images_per_class={support.images_per_class}: {n:,} images"
    if support.init == "natural" and n > train:
        raise ConfigError(f"{asked}, but there are {train:,} training images.")
    if n > MOST_SUPPORT:
        gib = MOST_SUPPORT**2 / 2**27
        raise ConfigError(f"{asked}. Plans are for supports of at most {MOST_SUPPORT:,}, {gib:.0f} GiB of K_ss.")


def kernel_of(config: Config) -> Kernel:
    """Return the kernel of a configuration."""
    kernel = config.kernel
    return Kernel(kernel.architecture, kernel.kind, *kernel.types, kernel.backend)


def work_of(config: Config, images: Images) -> Work:
    """Return the work of a run.

    Raises:
        ConfigError: its method does not say what it computes.
    """
    method = find_method(config.method)
    work = method.work(config, images)
    if work is None:
        raise ConfigError(
            f"method {config.method!r} does not say what it computes, so that it cannot be planned. Time some steps of "
            "it, or give its class a function work (hpcdistill.method.Method)."
        )
    return work


def seconds_by(config: Config, device: Device, ranks: int, cores: int) -> float | None:
    """Return the time of a run at speeds that are known, without a look at its data; None where that does not tell.

    Raises:
        ConfigError: the device has no speed for it.
    """
    images = images_of(config, read=False)
    work = None if images is None else find_method(config.method).work(config, images)
    if images is None or work is None:
        return None
    return total_seconds(Case(work, images, kernel_of(config), device, cores), ranks)


def why_too_long(seconds: float, ranks: int, limit: str) -> str:
    """Return what to say of a run that takes longer than its job may, whose limit is given as its profile has it."""
    return (
        f"about {duration(seconds)} on {ranks} rank{'s' * (ranks > 1)}, and resources.time is {limit}: the job will be "
        "requeued, and go on"
    )
