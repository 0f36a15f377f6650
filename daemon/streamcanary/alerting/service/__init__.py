"""The running part of alerting: it steps the engine, commits the result and sends the notifications."""
