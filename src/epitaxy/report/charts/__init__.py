"""Charts of the page: inline SVG that needs no script, with what a script shows on hover."""
