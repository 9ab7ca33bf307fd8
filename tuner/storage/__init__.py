"""Slots, attempts and artifacts: exact budgets on an Optuna database. Nothing in this package knows about DNA."""
