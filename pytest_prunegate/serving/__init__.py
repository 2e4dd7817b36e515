"""Models behind a server: its address, what it reports, and how it is asked."""
