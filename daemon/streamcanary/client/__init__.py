"""The instrumented streaming retry client: a complete answer or a typed fault."""
