"""Speed and memory of the spiking encoder beside ESPnet's Transformer encoder: `python -m benchmarks`."""
