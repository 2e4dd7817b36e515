"""pytest-prunegate: a pytest quality gate for pruned language models."""
