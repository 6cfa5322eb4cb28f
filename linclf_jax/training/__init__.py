"""Many classifiers trained by optax as one program, and what they search."""
