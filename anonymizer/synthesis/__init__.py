"""What is painted over a face: people who do not exist, or a cover. Start reading in ``paint``."""
