"""From representations to what is wanted of crystals, atoms and edges."""
