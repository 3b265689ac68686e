"""The masks of dropout: hashed in plain torch, kept for several calls, or made by kernels."""
