"""Bytes to model input and the geometry back; maps to pictures and regions."""
