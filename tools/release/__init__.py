"""``make release-check``: check that the work tree can be released, and that what is built from it works."""
