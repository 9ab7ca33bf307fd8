"""Ground floor: motif matrices, databases, and their comparison. No sequences' files, no models."""
