"""Verdicts -> terminal lines and files; decides nothing."""
