"""Compiled extensions and their C++ sources."""
