"""What a user says of data of their own that the data do not say, or not clearly."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """How to read a user's own data; see section `[data]` of the configuration.

    Attributes:
        images, labels: names of the arrays of the training split; "" to tell by their names.
        axes: "nhwc", "nchw", "hwcn", or "auto".
        size: of a side that pictures of a folder are brought to; 0: as they are.
        fit: "crop", "pad" or "stretch".
        test_share: share of the images to test on, where there is no test split; 0 for none.
        seed: decides which.
        test_images, test_labels: names of the arrays of the test split; "" to tell by their names.
    """

    images: str = ""
    labels: str = ""
    axes: str = "auto"
    size: int = 0
    fit: str = "crop"
    test_share: float = 0.0
    seed: int = 0
    test_images: str = ""
    test_labels: str = ""

    @property
    def said(self) -> dict[str, str]:
        """Names of arrays by what they are, as `roles.find_roles` takes them."""
        return {key: getattr(self, key) for key in ("images", "labels", "test_images", "test_labels")}


#: Where the user says nothing.
DEFAULT = Reading()
