"""The hot path and the fleet: one partition from its stream to its keys, and who reads which."""
