"""The tests: unit (no server), integration (a real server), acceptance (the real command)."""
