"""Reports, dashboard notes, metrics and the servers that show them."""
