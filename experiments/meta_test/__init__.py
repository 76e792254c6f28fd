"""`python -m experiments.meta_test`: what a policy is worth outside its meta-training family."""
