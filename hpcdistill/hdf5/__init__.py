"""HDF5 files: opened without locks, and read only where they hold all that they show; at a distance if need be."""
