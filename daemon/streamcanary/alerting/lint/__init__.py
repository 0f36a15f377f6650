"""Configuration warnings of `check`: rules that cannot fire, alerts without a receiver, matchers that match nothing."""
