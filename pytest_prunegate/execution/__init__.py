"""From requests to answers: executors, batches, memory, and how models are loaded. The only room with torch.

It may import tasks, checkpoint, store and input.
"""

__all__ = [
    "answering",
    "batch_runner",
    "conditions",
    "devices",
    "executor",
    "inspector",
    "interruption",
    "made_model",
    "models",
    "registry",
    "server",
    "side_by_side",
]
