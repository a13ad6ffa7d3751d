"""Complete runs, one TOML file each, found by name."""
