"""The dashboard's pages in a real browser, of a real deployment."""
