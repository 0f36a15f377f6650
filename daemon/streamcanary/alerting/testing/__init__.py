"""Rule unit tests, and the backtest of rules against recorded runs."""
