"""What may be wrong with a server, a deployment, its producers and a configuration.

Each family of checks is a file: it has one function that looks, and small pure ones that judge.
"""
