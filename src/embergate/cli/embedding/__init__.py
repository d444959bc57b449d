"""`embergate embed`: a file of texts in, a file of vectors out, resumable at any point.

It must not know HTTP, nor how a model computes: it reads, hands texts to an `Encoder`, and writes.
"""
