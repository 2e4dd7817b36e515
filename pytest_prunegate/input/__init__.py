"""What a user wrote, in options and in YAML, as frozen values; every mistake at once.

It imports the root alone.
"""
