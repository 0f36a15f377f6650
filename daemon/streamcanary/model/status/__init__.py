"""What the status page, the JSON API and the terminal show, as values that do not depend on who shows them."""
