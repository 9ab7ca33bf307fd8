"""Sequences and data sets: encodings, readers, splits, simulators, and the registry of named data sets."""
