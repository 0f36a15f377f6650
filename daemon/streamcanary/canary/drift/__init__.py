"""Detects that another model, configuration or service tier answers, or that a model will be retired."""
