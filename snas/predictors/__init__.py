"""Predictors of an architecture's accuracy: R runs train and rank as one tensor program.

Nothing heavy is imported here, so that a name can be checked without torch.  See :mod:`snas.predictors.predictor` for what a
predictor is, and ``docs`` for how to add one.
"""

from snas.registry import Registry

REGISTRY = Registry(
    "predictor",
    {
        "neural_predictor": "snas.predictors.neural:NeuralPredictor",
        "neural_predictor+nsam": "snas.predictors.neural:NeuralNSAM",
        "siamese": "snas.predictors.siamese:Siamese",
        "siamese+nsam": "snas.predictors.siamese:SiameseNSAM",
        "brp_nas": "snas.predictors.brp:BRPNAS",
    },
)

NATIVE = Registry(
    "predictor with native code",
    {
        "neural_predictor": "snas.predictors.kinds:NEURAL",
        "neural_predictor+nsam": "snas.predictors.kinds:NEURAL_NSAM",
        "siamese": "snas.predictors.kinds:SIAMESE",
        "siamese+nsam": "snas.predictors.kinds:SIAMESE_NSAM",
    },
)
"""Those that native code computes on a CPU, without torch: a block of runs takes it seconds, so that they lease a GPU only
where one is asked for by name (compiling them for it alone takes longer)."""
