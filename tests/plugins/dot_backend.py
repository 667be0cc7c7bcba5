"""A kernel backend that another package adds: scalar products, the kernel of one dense layer, in a line of NumPy."""

import numpy as np

from hpcdistill.errors import NotSuitable
from hpcdistill.kernels.base import Handle, check_cotangent, check_images
from hpcdistill.kernels.sweep import RepeatedSweep


class DotBackend:
    name, device, temporary_bytes = "dot", None, 1 << 20

    def __init__(self, architecture, image_shape, dtype):
        if architecture.name != "flatten dense":
            raise NotSuitable("it is for one dense layer alone")
        self.dtype, self._shape = np.dtype(dtype), image_shape
        self._weight, self._bias = architecture.w_std**2 / np.prod(image_shape), architecture.b_std**2

    def prepare(self, images):
        return Handle(check_images(images, self._shape, self.dtype))

    def block(self, h1, h2):
        x1, x2 = (h.images.reshape(len(h), -1) for h in (h1, h2))
        return (self._weight * (x1 @ x2.T) + self._bias).astype(self.dtype)

    def block_vjp(self, h1, h2, cotangent):
        flat = self._weight * check_cotangent(cotangent, h1, h2) @ h2.images.reshape(len(h2), -1)
        return flat.reshape(h1.images.shape).astype(self.dtype)

    def sweep(self, h1):
        return RepeatedSweep(self, h1)
