"""What people read: dashboard notes and, built on the same numbers, reports."""
