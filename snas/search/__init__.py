"""Search: methods, samplers, Siamese-Ranking, the query counter, blocks of runs.

Nothing heavy is imported here, so that a workflow can check a name while it is parsed.  A new method is one file with a
:class:`snas.search.method.Method` and one line in :data:`METHODS`; a new sampler likewise in :data:`SAMPLERS`.
"""

from typing import Any

from snas.predictors import REGISTRY as PREDICTORS
from snas.registry import Registry


class Methods(Registry):
    """The methods by name, and every ``predictor`` or ``predictor+sampler`` of the two registries that has no own entry.

    So a new predictor is searched with as soon as its room knows it.  ``method@setting=value`` is a variant of a method,
    see :mod:`snas.search.variants`.
    """

    def check(self, name: str) -> str:
        """Return ``name``, or raise :class:`InputError` that lists the known ones."""
        if "@" in str(name):
            self.load(name)
            return name
        return name if self._parts(name) else super().check(name)

    def target(self, name: str) -> str:
        """Return the module that holds the method, and where in it a registered one is."""
        name = str(name).partition("@")[0]
        return "snas.search.methods" if self._parts(name) else super().target(name)

    def load(self, name: str) -> Any:
        """Return the method; one that is put together imports no torch, either."""
        if "@" in str(name):
            from snas.search import variants

            base, settings = variants.parse(name)
            return variants.variant(self.load(self.check(base)), settings, name)
        parts = self._parts(name)
        if not parts:
            return super().load(name)
        from snas.search.methods import PredictorMethod

        return PredictorMethod(*parts)

    def _parts(self, name: str) -> tuple[str, str] | None:
        """Return (predictor, sampler) of a name without an own entry; None where there is none."""
        if name in self:
            return None
        predictor, _, sampler = str(name).rpartition("+")
        if name in PREDICTORS:
            return name, "random"
        return (predictor, sampler) if predictor in PREDICTORS and sampler in SAMPLERS else None


METHODS = Methods(
    "method",
    {
        "random": "snas.search.methods:RANDOM",
        "neural_predictor": "snas.search.methods:NEURAL_PREDICTOR",
        "siamese": "snas.search.methods:SIAMESE",
        "siamese+bts": "snas.search.methods:SIAMESE_BTS",
        "siamese+nsam": "snas.search.methods:SIAMESE_NSAM",
        "siamese+nsam+bts": "snas.search.methods:SIAMESE_NSAM_BTS",
        "siamese+nsam+fts": "snas.search.methods:SIAMESE_NSAM_FTS",
        "brp_nas": "snas.search.methods:BRP_NAS",
        "gp": "snas.search.gp:GP",
        "gp+fidelity": "snas.search.gp:GP_CODE",
        "gp+select": "snas.search.gp:GP_SELECT",
        "gp+synflow": "snas.search.gp:GP_SYNFLOW",
        "gp+coarse": "snas.search.gp:GP_COARSE",
        "gp+rerank": "snas.search.gp:GP_RERANK",
        "siamese+nsam+gp": "snas.search.gp:SIAMESE_NSAM_GP",
        "evolution": "snas.search.neighbours:EVOLUTION",
        "local_search": "snas.search.neighbours:LOCAL_SEARCH",
    },
)

SAMPLERS = Registry(
    "sampler",
    {
        "random": "snas.search.samplers:RandomPool",
        "bts": "snas.search.samplers:BatchTop",
        "fts": "snas.search.samplers:FullTop",
        "brp": "snas.search.samplers:BRPIterations",
    },
)
