"""Notifications of typical outages, as each receiver is sent them: files, a page of the documentation, and pictures."""
