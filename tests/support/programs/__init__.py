"""Real programs as child processes.

- `program.py`: start on free ports, wait until ready, stop.
- `alertmanager.py, collector.py, promtool.py`: Alertmanager, OpenTelemetry Collector, promtool.
- `daemon.py`: the streamcanary daemon and CLI commands.
- `required_tools.py`: find an external program, or skip the test.
"""
