"""The HTTP server: health endpoints and the JSON API. Its data comes in through small Protocols."""
