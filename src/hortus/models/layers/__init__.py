"""The parts that model families share: attention, losses, caches, memory."""
