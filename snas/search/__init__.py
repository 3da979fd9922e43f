"""Search: methods, samplers, Siamese-Ranking, the query counter, blocks of runs.

Nothing heavy is imported here, so that a workflow can check a name while it is parsed.  A new method is one file with a
:class:`snas.search.method.Method` and one line in :data:`METHODS`; a new sampler likewise in :data:`SAMPLERS`.
"""

from snas.config import Registry

METHODS = Registry(
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
