"""Bases as numbers, genomes, chromosomes, intervals and peaks; no data sets, no models."""
