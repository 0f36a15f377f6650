"""The running part of alerting: steps the engine, commits the results, and sends the notifications."""
