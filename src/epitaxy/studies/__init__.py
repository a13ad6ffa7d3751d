"""Studies that come with the package, one .toml each, found by name."""
