"""Measurements of speed: kernel blocks against neural-tangents, and whole KIP steps on several numbers of ranks."""
