"""What a network looks at: attribution of its output to bases, checked for completeness, scored against truth."""
