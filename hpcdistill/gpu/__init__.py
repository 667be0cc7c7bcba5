"""One NVIDIA GPU per rank: arrays on it, kernels compiled for it, dense linear algebra. Nothing here communicates."""
