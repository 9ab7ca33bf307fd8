"""Data sets: readers, negatives, splits, simulators, and the registry of named data sets."""
