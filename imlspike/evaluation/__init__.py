"""Measurements of a trained system: error rates, spike counts, operation counts and energy, plots.

Nothing here imports ESPnet; `scoring` needs no torch, `plots` loads matplotlib when a figure is drawn.
"""
