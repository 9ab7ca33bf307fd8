"""Logos, learning curves, Pareto fronts and other figures, shared by the command line and the report."""
