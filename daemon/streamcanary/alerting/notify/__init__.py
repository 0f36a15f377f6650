"""Notifications: content, texts and receivers."""
