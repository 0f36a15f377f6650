"""Parts of `streamcanary demo`: its configuration, its timeline of faults, and its webhook receiver."""
