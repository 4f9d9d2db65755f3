"""The endpoints of `/api/v1`, and what they are asked and answer."""
