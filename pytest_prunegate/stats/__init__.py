"""Numbers in, numbers out: no project imports, no clock, no global generator."""
