"""The search: slots, trials, workers; the place that knows Optuna."""
