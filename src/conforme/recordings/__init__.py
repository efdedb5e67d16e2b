"""The calls of a fiche."""
