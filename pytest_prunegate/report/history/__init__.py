"""One line for each finished run, and what is drawn and printed of them."""
