"""`python -m status_tracker` is `status-tracker`."""

from status_tracker.cli import main

main()
