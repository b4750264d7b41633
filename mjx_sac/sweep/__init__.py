"""Hyperparameters: which to try, trained side by side in few programs, on Optuna and Ray."""
