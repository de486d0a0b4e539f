"""Benchmarks: JSON in one schema, README's tables and plots from JSON. Imports `tracker`, never the reverse."""
