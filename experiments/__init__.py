"""Evaluation of frozen policies: arms, grid of runs, statistics, plots, report."""
