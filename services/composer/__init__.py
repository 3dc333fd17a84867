"""The one room in which typography lives: films, stills and labels are set here."""
