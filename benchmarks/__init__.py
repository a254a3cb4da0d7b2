"""The engine timed on fixed work, every figure with the machine it was measured on."""
