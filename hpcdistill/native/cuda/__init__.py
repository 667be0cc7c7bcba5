"""CUDA sources of backend `cuda`: hpcdistill/kernels/cuda.py."""
