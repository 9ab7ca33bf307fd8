"""Networks, their training and scores, and the baselines to compare them with."""
