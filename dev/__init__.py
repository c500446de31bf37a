"""Tools that a developer or operator runs by hand. The product imports nothing from here."""
