"""Benchmarks: they print tables and judge nothing. ``make bench`` runs them."""
