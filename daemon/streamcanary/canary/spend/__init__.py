"""Token usage, prices, and the budget that limits what canaries spend."""
