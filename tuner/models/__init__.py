"""Networks, their training, their scores, and the baselines beside them."""
