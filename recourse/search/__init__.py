"""The search kernels: Numba only, arrays in and arrays out."""
