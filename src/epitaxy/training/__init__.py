"""From a recipe to trained weights, resumable at any moment."""
