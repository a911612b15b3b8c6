"""Training of vocoders with Lightning (see `imlspike.training.run`), and of n-grams."""
