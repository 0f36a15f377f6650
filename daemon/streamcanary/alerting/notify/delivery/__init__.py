"""Delivery of a notification: the HTTP request, how a response is judged, rate limits, and blocking libraries."""
