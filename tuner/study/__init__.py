"""What is asked: study files, search spaces, objectives, and the plan that they make."""
