"""What Python programs use: kernels as arrays, for scikit-learn and for JAX. Exported by `hpcdistill`; no MPI."""
