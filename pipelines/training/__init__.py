"""Stored features to a model: fitting, calibration, measuring and export."""
