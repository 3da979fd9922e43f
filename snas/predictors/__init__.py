"""Room: predictors."""
