"""Health over HTTP; what it shows comes in through small Protocols."""
