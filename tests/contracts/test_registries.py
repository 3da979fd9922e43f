"""A new space, image set, recipe, proxy, predictor, sampler and method: one file each and one line in a registry, nothing
else; then all of it works."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from snas import InputError, config, images, networks, spaces, tables, training
from snas.analysis.correlations import correlations, measures, scatter
from snas.analysis.inputs import read_bench, read_search
from snas.analysis.scores import score_runs
from snas.figures import REGISTRY as FIGURES
from snas.predictors import REGISTRY as PREDICTORS
from snas.proxies import REGISTRY as PROXIES
from snas.proxies.scores import score
from snas.registry import Registry
from snas.search import METHODS, SAMPLERS, bench
from snas.search.block import SEARCH, Settings, run_block
from snas.training.codes import estimation_codes
from snas.training.truth import ground_truth

SPACE = """
    from itertools import product
    import numpy as np
    from torch import nn
    from snas.networks.weights import Conv2d, Linear
    from snas.spaces.space import Cell, Encoding, Space

    OPERATIONS = ("conv3x3", "conv1x1", "skip")

    class Chains(Space):
        name, title, default_width = "chains", "Chains", 8
        network = "one_file_space:network"

        def enumerate(self):
            return [Cell(ops, ((0, 1), (1, 2), (2, 3)), ">".join(ops)) for ops in product(OPERATIONS, repeat=3)]

        def encoding(self):
            adjacency = np.tile(np.eye(4, dtype=np.float32) + np.eye(4, k=1, dtype=np.float32), (len(self), 1, 1))
            operations = np.array([[*map(OPERATIONS.index, c.operations), 3] for c in self.cells()])
            return Encoding(adjacency, operations, (*OPERATIONS, "output"))

        def costs(self, *, width=None, channels=3, side=32, classes=10):
            w = width or self.default_width
            each = {"conv3x3": 9 * w * w, "conv1x1": w * w, "skip": 0}
            inner = np.array([sum(each[o] for o in c.operations) for c in self.cells()])
            return (channels * w + inner) * side**2 + w * classes, channels * w + inner + (w + 1) * classes

    def network(cell, *, width, channels, side, classes, bn_momentum):
        kinds = {"conv3x3": lambda: Conv2d(width, width, 3, padding=1, bias=False),
                 "conv1x1": lambda: Conv2d(width, width, 1, bias=False), "skip": nn.Identity}
        layers = [layer for o in cell.operations for layer in (kinds[o](), nn.ReLU())]
        return nn.Sequential(Conv2d(channels, width, 1, bias=False), *layers,
                             nn.AdaptiveAvgPool2d(1), nn.Flatten(), Linear(width, classes))
"""
IMAGES = """
    import torch
    from snas.images.imageset import divide

    def stripes(options):
        drawn = torch.Generator().manual_seed(0)
        labels = torch.arange(60) % 2
        pixels = torch.randint(0, 90, (60, 1, 8, 8), generator=drawn, dtype=torch.uint8)
        pixels[labels == 1, :, ::2] += 120
        pixels[labels == 0, :, :, ::2] += 120
        return divide(options, pixels, labels, ("columns", "rows"), train_images=options.train_images or 40, flip=True,
                      source="drawn")
"""
PREDICTOR = """
    import torch
    from snas.predictors.kinds import checked_options
    from snas.predictors.native_predictor import check_state, check_training
    from snas.predictors.parameters import Initial
    from snas.predictors.predictor import Predictor

    class Counts(Predictor):
        '''Ridge regression on how often each operation occurs: R runs in one solve, at each call of fit.'''
        name, uses_code, epochs = "counts", False, 10
        defaults = {"penalty": 1e-3, "dtype": torch.float64}

        def __init__(self, encoding, runs, *, base_seed, budget, device="cpu", compile=False, **options):
            self.options = checked_options(self.name, self.defaults, options)
            self.dtype, self.device, self.runs, self.reached = self.options["dtype"], device, tuple(runs), 0
            hot = torch.nn.functional.one_hot(torch.from_numpy(encoding.operations), len(encoding.vocabulary))
            self.x = torch.nn.functional.pad(hot.sum(1), (0, 1), value=1).to(device, self.dtype)
            self.layout = {"counts.weight": Initial((self.x.shape[1],))}
            self.w = torch.zeros(len(runs), self.x.shape[1], device=device, dtype=self.dtype)

        def fit(self, pool, accuracy, codes, *, start, stop):
            check_training(accuracy, start, stop, reached=self.reached, epochs=self.epochs)
            x, y = self.x[pool], accuracy.to(self.x)[..., None]
            square = x.mT @ x + self.options["penalty"] * torch.eye(x.shape[-1]).to(x)
            if self.tell:
                self.tell(0.5)
            self.w = torch.linalg.solve(square, x.mT @ y)[..., 0]
            if self.tell:
                self.tell(1.0)
            self.reached = stop

        def coarse(self, archs=None):
            rows = self.x.expand(len(self.runs), -1, -1) if archs is None else self.x[archs]
            return (rows @ self.w[..., None])[..., 0].cpu()

        def state_dict(self):
            return {"weights": self.w.cpu().clone(), "reached": torch.tensor(self.reached)}

        def load_state_dict(self, state):
            check_state(self.name, {"weights": self.w.shape}, state)
            self.w, self.reached = state["weights"].to(self.w), int(state["reached"])
"""
RECIPE = """
    from snas.images.augmentation import Augmentation
    from snas.training.recipes import Recipe

    TWO = Recipe("two_epochs", 10, ((1e-2, 2),), Augmentation(mixup=0.0), bn_momentum=0.3)
"""
PROXY = """
    def weights(network, image):
        '''Number of weights that are above zero.'''
        return float(sum((p > 0).sum() for p in network.parameters()))
"""
SAMPLER = """
    from dataclasses import dataclass
    import numpy as np
    from snas.search.samplers import Sampler, Update, outside

    @dataclass(frozen=True)
    class Halves(Sampler):
        '''Half of N at random, then the top of the ranking.'''
        smallest = 2

        def plan(self, budget, epochs):
            return Update(0, budget // 2), Update(epochs // 2, budget - budget // 2)

        def choose(self, update, new, pool, ranker):
            every = np.broadcast_to(np.arange(ranker.size), (len(pool), ranker.size))
            return ranker.rank_candidates(outside(pool, every), codes=0, update=update).archs[:, :new]
"""
METHOD = """
    import numpy as np
    from snas.search.method import Method, Search
    from snas.search.ranking import Ranking

    class InOrder(Method):
        '''The run's first draw and the N - 1 after it, in the order of the space, which is its ranking, too.'''
        predicts, computes = False, False

        def rounds(self, budget, options=None):
            return 1

        def start(self, problem, counter):
            return OneAfterTheOther(problem)

    class OneAfterTheOther(Search):
        def __init__(self, problem):
            self.every = (problem.permutations[:, :1] + np.arange(problem.size)) % problem.size
            self.budget = problem.budget

        def propose(self, number):
            return self.every[:, : self.budget]

        def rank(self):
            ranking = Ranking(self.every, self.every)
            return ranking, ranking

    IN_ORDER = InOrder()
"""
NEW = [
    (spaces.REGISTRY, "chains", SPACE, "Chains"),
    (images.REGISTRY, "stripes", IMAGES, "stripes"),
    (training.REGISTRY, "two_epochs", RECIPE, "TWO"),
    (PROXIES, "positive_weights", PROXY, "weights"),
    (PREDICTORS, "counts", PREDICTOR, "Counts"),
    (SAMPLERS, "halves", SAMPLER, "Halves"),
    (METHODS, "in_order", METHOD, "IN_ORDER"),
]


def module_of(registry):
    return f"one_file_{registry.kind.replace(' ', '_')}"


def write_files(folder):
    for registry, _, source, _ in NEW:
        (folder / f"{module_of(registry)}.py").write_text(textwrap.dedent(source))


def register():
    for registry, name, _, attribute in NEW:
        registry.register(name, f"{module_of(registry)}:{attribute}")


@pytest.fixture
def added(tmp_path, monkeypatch):
    """Each thing as one file of a user's own, registered by one line."""
    monkeypatch.syspath_prepend(tmp_path)
    write_files(tmp_path)
    register()
    yield
    for registry, name, *_ in NEW:
        registry.unregister(name)
        sys.modules.pop(module_of(registry), None)


def test_everything_new_in_one_file_each_works_together(added, tmp_path):
    methods = ["random", "counts", "counts+halves", "in_order", "siamese+bts"]
    names = {
        "space": "chains",
        "images": "stripes",
        "truth_recipe": "two_epochs",
        "proxies": ["positive_weights"],
    }
    config.load({**names, "methods": methods})
    space, drawn = spaces.load("chains"), images.load("stripes")
    table = space.table()
    assert networks.count_macs(networks.build(space, 0), (3, 32, 32)) == table["macs"][0]
    archs = list(range(len(space)))
    recipe, code = training.recipe("two_epochs"), training.recipe("smoke_code")
    share = images.draw_share(len(drawn.train_labels), 0.8, 0)
    truth = ground_truth(space, archs, drawn, recipe, base_seed=0, compile=False)
    codes = estimation_codes(space, archs, drawn, share, code, base_seed=0, compile=False)
    scored = score("chains", archs, "positive_weights", base_seed=0, channels=1, side=8, classes=2)
    assert scored["score"].gt(0).all()
    frame = bench.trained_bench(table, truth=truth, codes=codes, proxies=scored, code="positive_weights")
    facts = dict(
        space="chains",
        dataset="stripes",
        table="trained",
        truth_source="x",
        code_source="y",
        code_price=0.1,
        chance=0.5,
    )
    bench.write(tmp_path / "table.parquet", frame, facts)
    known = read_bench(tmp_path / "table.parquet", "chains-stripes")
    points = scatter(known)
    assert measures(points) == ["code", "log10_positive_weights"]
    assert set(correlations(points, known)["against"]) == set(measures(points))
    for method in ["siamese@code=positive_weights", *methods[1:4]]:
        runs = run_block(tmp_path / "table.parquet", Settings(method, 9, 3, (0, 1)))
        assert (runs["trainings"] <= 12).all()
        assert set(SEARCH.columns) <= set(runs.columns)
        tables.write(tmp_path / "runs.parquet", runs, SEARCH, {"score": "top"})
        scores = score_runs(known, read_search([tmp_path / "runs.parquet"], known), [3])
        assert scores["score"].between(0, 1).all()
    assert all((np.diff(pool) % len(space) == 1).all() for pool in runs["pool"])


CONTRACTS = (
    "spaces/test_contract.py", "spaces/test_features.py", "networks/test_contract.py", "images/test_image_contract.py",
    "training/test_recipes.py", "training/test_tables.py", "proxies/test_contract.py", "predictors/test_contracts.py",
    "search/test_samplers.py", "search/test_methods.py",
)  # fmt: skip


def test_everything_new_passes_the_contract_tests_of_its_room(tmp_path):
    """As `python -m pytest tests -k NAME` does for who adds one (docs/adding.md)."""
    write_files(tmp_path)
    plugin = (
        "def pytest_configure():\n    from tests.contracts.test_registries import register\n    register()\n"
    )
    (tmp_path / "one_file_plugin.py").write_text(plugin)
    names = [name for _, name, *_ in NEW]
    tests = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "one_file_plugin", "-p", "no:cacheprovider", "-q", "-rA", "--tb=short",
         "-k", " or ".join(names), *(str(tests / file) for file in CONTRACTS)],
        cwd=tests.parent, env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{tests.parent}"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    for name in names:
        assert re.search(rf"^PASSED .*\[.*{name}.*\]", done.stdout, re.M), name


def test_names_are_checked_without_torch():
    assert METHODS.check("siamese+fts") == "siamese+fts"
    with pytest.raises(InputError, match="unknown method 'siamese\\+xyz'"):
        METHODS.check("siamese+xyz")


def test_a_line_that_leads_nowhere_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "one_file_lacking.py").write_text("import no_such_package\n")
    registry = Registry(
        "thing", {"gone": "snas.gone:A", "typo": "snas.seeds:generater", "lacking": "one_file_lacking:A"}
    )
    with pytest.raises(
        InputError, match=r"thing 'gone' is registered as 'snas.gone:A', but there is no module 'snas.gone'"
    ):
        registry.load("gone")
    with pytest.raises(InputError, match=r"thing 'typo' is .*, but 'snas.seeds' has no 'generater'"):
        registry.load("typo")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        registry.load("lacking")


ALL = {
    "spaces": spaces.REGISTRY, "images": images.REGISTRY, "training": training.REGISTRY, "proxies": PROXIES,
    "predictors": PREDICTORS, "methods": METHODS, "samplers": SAMPLERS, "figures": FIGURES,
}  # fmt: skip


@pytest.mark.parametrize(
    ("room", "name"), [(room, name) for room, registry in ALL.items() for name in registry]
)
def test_every_entry_leads_to_something_documented(room, name):
    found = ALL[room].load(name)
    documented = found if isinstance(found, type) or callable(found) else type(found)
    assert documented.__doc__, f"{room}: {name}"


@pytest.mark.parametrize("room", ALL)
def test_unknown_names_list_the_known_and_duplicates_raise(room):
    registry = ALL[room]
    with pytest.raises(InputError) as error:
        registry.check("no such thing")
    assert all(name in str(error.value) for name in registry)
    with pytest.raises(ValueError, match="registered twice"):
        registry.register(next(iter(registry)), "a:b")
