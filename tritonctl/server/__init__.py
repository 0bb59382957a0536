"""Talking to one Triton Inference Server."""
