"""Records to what a page shows, to text, to files. No torch here."""
