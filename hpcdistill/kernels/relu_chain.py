"""Recursion of a fully connected ReLU network over one tile of image pairs, forward and in reverse.

With S the covariance, T the tangent kernel, V1 and V2 the variances of the two images and n = √V:

    dense   S ← W² S + b²,   T ← W² T + S_new
    ReLU    S ← (√(1−c²) + c (π−θ)) n1 n2 / (2π),   T ← T (π−θ)/(2π),   c = S/(n1 n2),  θ = arccos c

`r = n1 n2 √(1−c²)` is computed as √(n1 n2 − S) · √(n1 n2 + S) and θ as arctan2(r, S): the two belong to the same
angle, so that rounding in S changes S' only to second order, and nothing overflows. |c| > 1 counts as 1. Where V = 0,
θ = π/2 (as in neural-tangents). Source: Cho & Saul 2009; Lee et al. arXiv:1902.06720, appendix E.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcdistill.architecture import Architecture

#: Below this 1 − c² the factors 1/√(1−c²) of the derivatives count as 0, the symmetric derivative at c = ±1.
#: Rounding in c leaves noise of about 1e-15 (float64) and 1e-6 (float32) in 1 − c²; above these thresholds it changes
#: the factors by less than 0.1 % and 6 %, and what is dropped is the kink of pairs closer than 1e-6 and 3e-3 radian.
SINGULAR_BELOW = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}

#: Positions of pairs of one image with itself in a tile: row and column indices.
Pairs = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ReluRecord:
    """What the reverse sweep needs of one ReLU; s, t, root and d have the tile's shape."""

    s: np.ndarray
    t: np.ndarray | None
    root: np.ndarray
    d: np.ndarray


class ReluChain:
    """The layers after `flatten`, as maps of (S, T). T is None until it exists: before the first dense, and in NNGP."""

    def __init__(self, architecture: Architecture) -> None:
        self._layers = architecture.layers[1:]
        self._w2, self._b2 = architecture.w_std**2, architecture.b_std**2
        self._is_ntk = architecture.kind == "ntk"
        self.n_relu = self._layers.count("relu")

    def norms(self, variance: np.ndarray) -> np.ndarray:
        """Return n = √V of each image at each ReLU, (n, n_relu), from its input variance <x,x>/d, (n,)."""
        norms = np.empty((len(variance), self.n_relu), variance.dtype)
        relu = 0
        for layer in self._layers:
            if layer == "dense":
                variance = variance * self._w2 + self._b2
            else:
                norms[:, relu] = np.sqrt(variance)
                variance = variance * 0.5
                relu += 1
        return norms

    def norms_vjp(self, norms: np.ndarray, g_norms: np.ndarray) -> np.ndarray:
        """Return the gradient with respect to the input variance, (n,), from Σ n ∂K/∂n at each ReLU, (n, n_relu)."""
        twice_variance = 2 * norms**2
        g_variances = np.divide(g_norms, twice_variance, out=np.zeros_like(g_norms), where=twice_variance > 0)
        gradient = np.zeros(len(norms), norms.dtype)
        relu = self.n_relu
        for layer in reversed(self._layers):
            if layer == "dense":
                gradient *= self._w2
            else:
                relu -= 1
                gradient = gradient * 0.5 + g_variances[:, relu]
        return gradient

    def forward(
        self, s: np.ndarray, n1: np.ndarray, n2: np.ndarray, same: Pairs, tape: list[ReluRecord] | None = None
    ) -> np.ndarray:
        """Return the kernel of a tile, (rows, columns).

        Args:
            s: <x1,x2>/d, (rows, columns), overwritten; entries in `same` hold the variance of that image.
            n1, n2: norms, (rows, n_relu) and (columns, n_relu).
            same: where both images are one: there c = 1 exactly.
            tape: filled with what `reverse` needs, if given.
        """
        t = None
        relu = 0
        for layer in self._layers:
            if layer == "dense":
                s, t = self._dense(s, t)
            else:
                record, s = _relu(s, t, n1[:, relu], n2[:, relu], same)
                t = None if t is None else record.d * t
                relu += 1
                if tape is not None:
                    tape.append(record)
        return s if t is None else t

    def reverse(
        self, cotangent: np.ndarray, tape: list[ReluRecord], n1: np.ndarray, n2: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient with respect to `s`, (rows, columns), and Σ_j n1 ∂K/∂n1 at each ReLU, (rows, n_relu)."""
        gs: np.ndarray = np.zeros_like(cotangent) if self._is_ntk else cotangent
        gt: np.ndarray = cotangent if self._is_ntk else np.zeros_like(cotangent)
        g_norms = np.empty(n1.shape, cotangent.dtype)
        relu = self.n_relu
        for layer in reversed(self._layers):
            if layer == "dense":
                gs, gt = (gs + gt) * self._w2, gt * self._w2
            else:
                relu -= 1
                gs, gt, g_norms[:, relu] = _relu_vjp(gs, gt, tape[relu], n1[:, relu], n2[:, relu])
        return gs, g_norms

    def _dense(self, s: np.ndarray, t: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        s *= self._w2
        s += self._b2
        if not self._is_ntk:
            return s, None
        if t is None:
            return s, s.copy()
        t *= self._w2
        t += s
        return s, t


def _relu(
    s: np.ndarray, t: np.ndarray | None, n1: np.ndarray, n2: np.ndarray, same: Pairs
) -> tuple[ReluRecord, np.ndarray]:
    """Return the record of the layer, with its (π−θ)/(2π) as `d`, and the new S."""
    product = np.multiply.outer(n1, n2)
    product[same] = s[same]
    root = product - s
    np.sqrt(np.maximum(root, 0, out=root), out=root)
    other = product + s
    np.sqrt(np.maximum(other, 0, out=other), out=other)
    root *= other
    d = np.arctan2(root, s, out=other)
    if not (n1.all() and n2.all()):
        d[product == 0] = np.pi / 2
    np.subtract(np.pi, d, out=d)
    d *= 0.5 / np.pi
    new_s = np.multiply(root, 0.5 / np.pi, out=product)
    new_s += d * s
    return ReluRecord(s, t, root, d), new_s


def _relu_vjp(
    gs: np.ndarray, gt: np.ndarray, record: ReluRecord, n1: np.ndarray, n2: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gradients with respect to S and T before the layer, and Σ_j n1 ∂/∂n1."""
    s, t, root, d = record.s, record.t, record.root, record.d
    by_norm = gs * root
    by_norm *= 0.5 / np.pi
    gs = gs * d
    if t is not None:
        least = np.multiply.outer(n1 * SINGULAR_BELOW[s.dtype] ** 0.5, n2)
        slope = np.multiply(gt, t)
        slope *= 0.5 / np.pi
        slope = np.divide(slope, root, out=np.zeros_like(slope), where=root > least)
        gs += slope
        slope *= s
        by_norm -= slope
        gt = gt * d
    return gs, gt, by_norm.sum(axis=1)
