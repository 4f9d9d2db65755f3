"""The scripts that run on the server, and a typed wrapper for each."""
