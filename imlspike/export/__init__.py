"""Trained models as ONNX files, and the engine that runs them without torch (`imlspike.export.engine`)."""
