"""The default executor and its engine: greedy generation and log-likelihoods of decoders without padding, surplus tokens and prompts read twice."""
