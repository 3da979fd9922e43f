"""What measures speed, side by side: ratios in one run on one machine.  ``python -m speed`` runs all of it."""
