"""From a URL to a client: of one server, of a Sentinel's master, or of a Redis Cluster."""
