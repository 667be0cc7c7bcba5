"""Kernel Inducing Points: what the rest of the package is told of it. Light; `driver` is what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpcdistill.errors import ConfigError
from hpcdistill.method import Method
from hpcdistill.methods.kip.settings import KipConfig

if TYPE_CHECKING:
    import numpy as np

    from hpcdistill.config import Config
    from hpcdistill.cost.work import Images, Work
    from hpcdistill.data.sampling import Pool


class Kip(Method):
    """Kernel Inducing Points. Source: arXiv:2011.00050, arXiv:2107.13034."""

    name = "kip"
    title = "KIP"
    help = "learn images (and labels)"
    settings = KipConfig
    driver = "hpcdistill.methods.kip.driver:KipDriver"
    learns_images = True
    labels = "learned"
    keeps_paper_steps = True
    needs_gradient = True
    shorter = "lower kip.batch"
    resumable = frozenset({"kip.steps", "kip.hours", "kip.patience"})
    adjustable = frozenset({"kip.learning_rate", "kip.label_learning_rate", "solve.reg", "kernel.precision"})

    def check(self, config: Config) -> None:
        """See `Method`."""
        kip = config.of(KipConfig)
        if kip.warmup > kip.steps and not kip.hours:
            raise ConfigError(f"kip.warmup={kip.warmup} is longer than the run: kip.steps={kip.steps}.")
        if 0 < kip.last_batch < kip.batch:
            raise ConfigError(f"kip.last_batch={kip.last_batch} is less than kip.batch={kip.batch}.")
        if kip.last_batch and not kip.batch:
            raise ConfigError(
                "kip.last_batch needs a kip.batch to grow from, and 0 stands for all images: set kip.batch."
            )

    def check_images(self, config: Config, pool: Pool, validation: int) -> None:
        """See `Method`."""
        kip = config.of(KipConfig)
        if kip.patience and not validation:
            raise ConfigError("kip.patience needs a validation split: set data.validation, for example to 1000.")
        _check_batch(kip, len(pool))

    def notes(self, config: Config, pool: Pool, class_names: tuple[str, ...]) -> list[str]:
        """See `Method`: of classes of very different sizes."""
        kip = config.of(KipConfig)
        sizes = {name: len(members) for name, members in zip(class_names, pool.by_class, strict=True)}
        few, many = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
        share = -(-max(kip.batch, kip.last_batch) // len(sizes))
        if kip.balance != "classes" or share <= sizes[few]:
            return []
        return [
            f"classes have {sizes[few]} ({few}) to {sizes[many]} ({many}) images: a batch has {share} of each, images "
            'of small classes several times (kip.balance = "proportional" draws classes as they are)'
        ]

    def for_images(self, config: Config, n_train: int, given: frozenset[str]) -> Config:
        """See `Method`: a batch is all images where these are fewer than by default."""
        fits = "kip.batch" in given or n_train >= config.of(KipConfig).batch
        return config if fits else config.replacing(KipConfig, batch=0)

    def targets(self, config: Config) -> tuple[str, int]:
        """See `Method`."""
        return "kip.batch", config.of(KipConfig).batch

    def repeated_targets(self, config: Config, n_train: int) -> int:
        """See `Method`."""
        kip = config.of(KipConfig)
        steps = kip.steps if not kip.hours else 1_000_000
        return steps * (max(kip.batch, kip.last_batch) or n_train)

    def networks(self, config: Config) -> tuple[str, ...]:
        """See `Method`."""
        return config.of(KipConfig).architectures

    def decisive(self, config: Config) -> frozenset[str]:
        """See `Method`."""
        return frozenset() if config.of(KipConfig).is_constant else frozenset({"kip.steps", "kip.hours"})

    def steps(self, config: Config) -> int:
        """See `Method`."""
        kip = config.of(KipConfig)
        return 0 if kip.hours else kip.steps

    def work(self, config: Config, images: Images) -> Work:
        """See `Method`."""
        from hpcdistill.methods.kip.work import work_of

        _check_batch(config.of(KipConfig), images.train)
        return work_of(config, images)

    def loss_in_words(self, settings: dict[str, Any], history: dict[str, np.ndarray]) -> str:
        """See `Method`."""
        if settings.get("loss", "squared_error") == "squared_error":
            return ""
        import numpy as np  # not where a configuration is only read

        temperature = history.get("temperature", np.empty(0))
        temperature = temperature[np.isfinite(temperature)]
        last = f", {temperature[-1]:.1f} at the end" if len(temperature) else ""
        return f"The loss is the cross-entropy of predictions multiplied by a temperature{last}."


def _check_batch(kip: KipConfig, n_train: int) -> None:
    largest = max(kip.batch, kip.last_batch)
    if kip.batch and largest > n_train:
        key = "kip.batch" if largest == kip.batch else "kip.last_batch"
        raise ConfigError(
            f"{key}={largest}, but there are at most {n_train} training images. Use kip.batch=0 for all of them."
        )


METHOD = Kip()
