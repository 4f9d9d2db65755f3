"""`python -m worker` is `status-tracker`."""

from worker.cli import main

main()
