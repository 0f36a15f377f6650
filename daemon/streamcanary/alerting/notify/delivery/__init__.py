"""Delivery of a notification: the HTTP request, how a response is evaluated, rate limits, and blocking libraries."""
