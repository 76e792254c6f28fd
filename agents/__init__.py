"""Meta-training with Stable-Baselines3; what leaves this package is a frozen policy's folder."""
