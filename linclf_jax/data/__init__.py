"""Named datasets, their splits, and preprocessing fitted on training data only."""
