"""A privacy proxy between surveillance cameras and a video recorder: start reading in ``pipeline.py``."""

__version__ = "0.1.0"
