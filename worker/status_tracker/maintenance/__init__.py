"""What keeps a deployment in order, beside the commits: one policy a file."""
