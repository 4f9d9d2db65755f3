"""What keeps a deployment in order by itself, beside the commits: one policy a file."""
