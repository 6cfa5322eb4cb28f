"""What measures speed, beside the libraries that people use."""
