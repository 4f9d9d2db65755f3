"""What open pages are told when something moved: it is read, and drawn, once for all of them."""
