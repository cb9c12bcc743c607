"""Infers the type and shape of every value of an ONNX graph, node by node, once its inputs have concrete lengths."""
