"""The run: trials, stages, workers and their supervisor."""
