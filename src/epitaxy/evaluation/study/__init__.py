"""Studies: many pre-trainings, tasks, sizes and seeds out of one file, and the tables of them."""
