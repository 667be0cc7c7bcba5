"""Files: checkpoints in parallel HDF5, exports, figures."""
