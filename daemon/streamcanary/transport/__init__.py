"""How this machine reaches another over HTTP: through which proxy, trusting whom, and shown as whom."""
