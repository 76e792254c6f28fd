"""Speed: trainings in stacks against the same trainings one by one."""
