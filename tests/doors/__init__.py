"""The Cython doors against plain Python models, and the lifetime of the views they give out."""
