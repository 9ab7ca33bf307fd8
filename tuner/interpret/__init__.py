"""Attribution of a network's output to bases, checked for completeness and scored against ground truth."""
