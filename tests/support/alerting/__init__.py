"""Parts for tests of alerting.

- `builders.py`: runs, faults, `alerts:` sections, and an engine with its stored rows.
- `groups.py`: an engine whose canaries share a group.
- `service.py`: the running alerting service, with a store that can fail.
- `messages.py`: incidents and messages as receivers get them.
- `invariants.py`: what holds after every engine step and for every receiver.
- `config_variants.py`: configurations that the stateful test switches between.
- `config_yaml.py`: configuration files as text, and the errors and warnings that loading them gives.
"""
