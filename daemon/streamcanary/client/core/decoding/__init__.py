"""Decodes what servers send: server-sent events, JSON of any quality, error bodies."""
