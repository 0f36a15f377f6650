"""Notifications: their content, their text, and the receivers that they are sent to."""
