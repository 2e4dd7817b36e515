"""What a checkpoint's files say without a forward pass.

It may import input.
"""

__all__ = [
    "counting",
    "facts",
    "files",
    "fingerprint",
    "hashing",
    "layout",
    "location",
    "mask_survival",
    "overview",
    "packed",
    "safetensors_header",
    "scan",
    "sparsity",
    "structure",
    "zero_pattern",
]
