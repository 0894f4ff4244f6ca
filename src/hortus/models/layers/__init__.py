"""The parts that model families share: attention, losses, fused elementwise steps, caches."""
