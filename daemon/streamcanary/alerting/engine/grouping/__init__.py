"""From incidents to notifications: groups, muting, and the queue of each receiver."""
