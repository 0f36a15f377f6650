"""Spans and metrics in memory.

- `in_memory.py`: SDK providers that record everything, and queries on it.
- `open_spans.py`: count of spans that have started and not ended.
- `run_traces.py`: finished runs as values.
- `span_trees.py`: span trees as text, for expected trees in files.
"""
