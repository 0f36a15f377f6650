"""Support for tests of the client.

- `calls.py`: a call of the sans-I/O state machine, and the responses and errors to feed it.
- `drivers.py`: one interface to the async and the sync client.
- `fault_table.py`: the fault or answer expected of each simulator behaviour.
- `fault_matrix.py`: the combinations of API, driver, TLS and connection lifetime.
- `fault_scenarios.py`: failures that the simulator cannot produce.
- `stream_strategies.py`: Hypothesis strategies for event streams.
"""
