"""Kernel backends behind one protocol (`base.KernelBackend`). Nothing here communicates."""
