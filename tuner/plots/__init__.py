"""Logos, learning curves, and Pareto fronts as figures that search and report share."""
