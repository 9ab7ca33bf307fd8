"""Motif matrices, motif databases and their comparison. Needs no sequence files and no networks."""
