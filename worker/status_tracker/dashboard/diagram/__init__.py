"""Where phases and steps of a lifecycle are drawn: `placing.py` → `routing.py` → `layout.py`."""
