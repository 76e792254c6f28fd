"""lr_env: a neural network's training as an environment, learning rates set layer by layer."""
