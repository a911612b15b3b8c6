"""Training of vocoders with Lightning. The only part that imports lightning; see `imlspike.training.run`."""
