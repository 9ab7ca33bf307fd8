"""Slots and files: exact budgets on an Optuna database, artifacts, and who may write them. Knows nothing of DNA."""
