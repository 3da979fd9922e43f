"""Siamese-NAS (arXiv 2210.00546) in PyTorch: search spaces, estimation codes, predictors, search, figures.

Data flows one way through the rooms of this package:
spaces → networks → images → training → proxies → predictors → search → analysis → figures
→ export.
"""

__version__ = "0.1.0"


class InputError(ValueError):
    """What came from outside is wrong: one sentence that names the file, column, row or key, and what would be right.

    Commands and jobs print the sentence without a traceback and end with exit status 2.
    """
