"""The sub-commands: one module each, with `HELP`, `add_arguments(parser)` and `main(args) -> exit code`.

At import they load nothing heavy, so that `--help` is quick and commands that need no MPI, JAX or HDF5 run without.
"""
