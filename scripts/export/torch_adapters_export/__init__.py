"""Writes a model as an archive of torch.export, which torch-adapters reads.

Nothing is imported here: where torch is missing, __main__ says so in a line.
"""
