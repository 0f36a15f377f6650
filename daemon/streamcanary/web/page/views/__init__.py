"""What each page shows, as values that its template only has to write down."""
