"""Builders, harnesses and invariant checks for tests of alerting.

- `builders.py`: runs, faults, `alerts:` sections, and an engine with its stored rows.
- `groups.py`: an engine whose canaries share a group.
- `service.py`: a running alerting service, and a store that can fail.
- `messages.py`: incidents and rendered messages.
- `invariants.py`: invariants of every engine step, and a model of a receiver.
- `config_variants.py`: configurations that the stateful test switches between.
- `config_yaml.py`: configuration files as text, and their config errors and warnings.
"""
