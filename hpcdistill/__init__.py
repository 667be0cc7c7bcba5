"""Dataset distillation with infinitely wide networks (KIP and Label Solve) on MPI ranks."""

__version__ = "0.1.0"
