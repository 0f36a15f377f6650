"""The status page: HTML for people, live over server-sent events, complete without JavaScript."""
