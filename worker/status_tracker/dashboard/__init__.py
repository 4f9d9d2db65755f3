"""The deployment over HTTP: an ASGI application, for front ends that cannot reach Redis."""

from status_tracker.dashboard.application import create_app
from status_tracker.dashboard.auth import Auth, basic, bearer, proxy

__all__ = ["Auth", "basic", "bearer", "create_app", "proxy"]
