"""Training one classifier, training thousands, and choosing one honestly."""
