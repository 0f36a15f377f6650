"""Fake servers on loopback.

- `receiver.py`: HTTP receiver that records deliveries and answers as scripted.
- `pagerduty.py, slack.py`: receivers that validate requests as the real APIs do.
- `smtp.py`: mail server.
- `provider.py`: LLM endpoint whose fault a test sets.
- `simulator.py`: simulator timings, and the raw response that a plain HTTP client gets.
- `tcp.py`: TCP server, HTTP server with fixed responses, and CONNECT proxy.
- `certificates.py`: TLS certificates.
"""
