"""Models for other runtimes: StableHLO and ONNX."""
