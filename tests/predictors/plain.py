"""The predictors once more, written from their description: one run, one architecture at a time, torch's own batch norm and Adam.

Slow on purpose, and as far from the product's formulation as possible: biases are there, directions and q, k, v are separate
layers, features are multiplied as one-hot matrices, rows without a code never enter the estimation branch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from snas import seeds
from snas.predictors.brp import draw_kept


class Plain:
    """One run's parameters and running statistics, copied from row ``row`` of a batched predictor."""

    def __init__(self, predictor, row, *, nsam, shared_qv=False):
        self.adjacency, self.one_hot = (
            predictor.graphs.adjacency,
            predictor.graphs.eye[predictor.graphs.operations],
        )
        self.nsam, self.shared_qv, self.efm = nsam, shared_qv, predictor.uses_code
        self.momentum = predictor.options["bn_momentum"]
        self.p, self.running = {}, {}
        for name, value in predictor.leaves.items():
            for part, piece in _parts(name, value[row].detach().clone(), shared_qv):
                self.p[part] = piece.requires_grad_()
        for name, value in predictor.running.items():
            for part, piece in _parts(name, value[row].clone(), shared_qv):
                self.running[part] = piece
        for name in [n for n in self.p if n.endswith((".out.weight", ".in.weight"))]:  # the biases b and b'
            width = self.p[name].shape[1]
            self.p[name.replace("weight", "bias")] = torch.zeros(
                width, dtype=self.p[name].dtype, requires_grad=True
            )

    def bn_mish(self, name, rows, training):
        mean, variance = self.running[f"{name}.mean"], self.running[f"{name}.variance"]
        scale, shift = self.p[f"{name}.scale"], self.p[f"{name}.shift"]
        return F.mish(F.batch_norm(rows, mean, variance, scale, shift, training, self.momentum, 1e-4))

    def gc(self, name, graphs, xs, training):
        halves = []
        for direction, turn in (("out", lambda a: a), ("in", lambda a: a.T)):
            w, b = self.p[f"{name}.{direction}.weight"], self.p[f"{name}.{direction}.bias"]
            rows = torch.cat([turn(a) @ x @ w + b for a, x in zip(graphs, xs, strict=True)])
            halves.append(self.bn_mish(f"{name}.{direction}", rows, training))
        return list(((halves[0] + halves[1]) / 2).split(len(graphs[0])))

    @staticmethod
    def attend(x, q, k, v, a):
        s = q @ k.T
        return x + torch.softmax(s * a, 1) @ v + torch.softmax(s * a.T, 1) @ v

    def basic(self, archs, training):
        graphs = [self.adjacency[i] for i in archs]
        xs = self.gc("gc1", graphs, [self.one_hot[i] for i in archs], training)
        xs = self.gc("gc2", graphs, xs, training)
        if self.nsam:
            q, k, v = (self.gc(f"nsam.{part}", graphs, xs, training) for part in "qkv")
            fused = [self.attend(*each) for each in zip(xs, q, k, v, graphs, strict=True)]
            xs = self.gc("nsam.close", graphs, fused, training)
        return self.gc("gc3", graphs, xs, training)

    def estimation(self, archs, xs, codes, training):
        graphs = [self.adjacency[i] for i in archs]
        nodes = len(graphs[0])
        lifted = torch.cat(
            [(c @ self.p["efm.code.weight"] + self.p["efm.code.bias"]).view(nodes, 64) for c in codes]
        )
        ks = self.gc("efm.k", graphs, list(self.bn_mish("efm.code", lifted, training).split(nodes)), training)
        q = self.gc("efm.q", graphs, xs, training)
        v = q if self.shared_qv else self.gc("efm.v", graphs, xs, training)
        fused = [self.attend(*each) for each in zip(xs, q, ks, v, graphs, strict=True)]
        return self.gc("efm.close", graphs, fused, training)

    def head(self, x):
        return torch.sigmoid(x.mean(1) @ self.p["head.weight"][:, 0] + self.p["head.bias"][0])

    def loss(self, archs, accuracy, codes):
        xs = self.basic(archs, training=True)
        coarse = [F.huber_loss(self.head(x), y, delta=0.5) for x, y in zip(xs, accuracy, strict=True)]
        total = sum(coarse) / len(coarse)
        have = [i for i, c in enumerate(codes) if not c.isnan().any()] if self.efm else []
        if have:
            fused = self.estimation(
                [archs[i] for i in have], [xs[i] for i in have], codes[have], training=True
            )
            fine = [
                F.huber_loss(self.head(x), accuracy[i], delta=0.5) for i, x in zip(have, fused, strict=True)
            ]
            total = total + sum(fine) / len(fine)
        return total

    def train(self, pool, accuracy, codes, *, epochs, budget, run, base_seed, stop=None):
        steps = max(budget // 8, 1)
        for epoch in range(stop or epochs):
            if epoch in (0, round(0.2 * epochs), round(0.7 * epochs)):
                rate = 1e-3 if epoch < round(0.7 * epochs) else 1e-4
                adam = torch.optim.Adam(list(self.p.values()), lr=rate, eps=1e-7)
            draws = torch.randint(
                len(pool), (steps, 8), generator=seeds.generator(base_seed, "batches", run, epoch)
            )
            for batch in draws:
                for (
                    parameter
                ) in self.p.values():  # where a batch has no code, the estimation branch has gradient 0
                    parameter.grad = torch.zeros_like(parameter)
                self.loss([int(i) for i in pool[batch]], accuracy[batch], codes[batch]).backward()
                adam.step()

    @torch.no_grad()
    def coarse(self, arch):
        return self.head(self.basic([arch], training=False)[0])

    @torch.no_grad()
    def fine(self, arch, code):
        return self.head(
            self.estimation([arch], self.basic([arch], training=False), [code], training=False)[0]
        )


def _parts(name, value, shared_qv):
    """Cut layers that stand side by side into the single ones."""
    for whole, parts in (("nsam.qkv", "qkv"), ("efm.qv", "q" if shared_qv else "qv")):
        if name.startswith(whole):
            room = whole.partition(".")[0]
            pieces = value.split(64, -1)
            return [
                (name.replace(whole, f"{room}.{p}"), v.clone()) for p, v in zip(parts, pieces, strict=True)
            ]
    return [(name, value)]


class PlainBRP:
    """BRP-NAS for one run, one pair at a time, with torch's LayerNorm, KL and AdamW."""

    def __init__(self, predictor, row, encoding):
        self.options = predictor.options
        views = {n: v for n, v in zip(predictor.layout, _views(predictor, row), strict=True)}
        self.p = {n: v.clone().requires_grad_() for n, v in views.items()}
        self.graphs = []
        symbols = len(encoding.vocabulary)
        for a, o in zip(encoding.adjacency, encoding.operations, strict=True):
            n = len(o)
            big = torch.zeros(n + 1, n + 1, dtype=predictor.dtype)
            big[1:, 1:] = torch.as_tensor(a)
            big[0, :] = 1
            x = torch.zeros(n + 1, symbols + 1, dtype=predictor.dtype)
            x[0, symbols] = 1
            for node, symbol in enumerate(o):
                x[node + 1, symbol] = 1
            self.graphs.append((big, x))

    def embed(self, arch, keep=None):
        a, x = self.graphs[arch]
        for layer in range(4):
            name = f"brp.gcn{layer + 1}"
            x = a @ (x @ self.p[f"{name}.weight"]) + self.p[f"{name}.bias"]
            x = F.layer_norm(x, (x.shape[1],), self.p[f"{name}.scale"], self.p[f"{name}.shift"]).relu()
            if keep is not None:
                x = x * keep[layer] if layer < 3 else torch.cat([x[:1] * keep[layer], x[1:]])
        return x[0]

    def logits(self, a, b):
        return torch.cat([a, b]) @ self.p["brp.last.weight"] + self.p["brp.last.bias"]

    def divergence(self, a, b, truth):
        return F.kl_div(torch.log_softmax(self.logits(a, b), 0), torch.softmax(truth, 0), reduction="sum")

    def iterate(self, pool, accuracy, *, number, run, base_seed):
        """Train iteration ``number`` = 1, 2, … and return how many epochs it took."""
        n, rest = len(pool), 1 - self.options["dropout"]
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
        epochs = self.options["epochs_each"] * number
        adamw = torch.optim.AdamW(list(self.p.values()), lr=3.5e-4, weight_decay=5e-4)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adamw, T_max=epochs)
        best, bad = float("inf"), 0
        for epoch in range(epochs):
            order = torch.randperm(
                len(pairs), generator=seeds.generator(base_seed, "pairs", run, number, epoch)
            )
            dropout = seeds.generator(base_seed, "dropout", run, number, epoch)
            for batch in order.split(12 * number):
                keeps = self.draw(n, dropout, rest)
                x = [self.embed(int(arch), keep) for arch, keep in zip(pool, keeps, strict=True)]
                chosen = [pairs[int(i)] for i in batch]
                loss = sum(self.divergence(x[i], x[j], accuracy[[i, j]]) for i, j in chosen)
                adamw.zero_grad()
                loss.backward()
                adamw.step()
            cosine.step()
            if epoch > 20:
                with torch.no_grad():
                    x = [self.embed(int(arch)) for arch in pool]
                    loss = float(sum(self.divergence(x[i], x[j], accuracy[[i, j]]) for i, j in pairs)) / len(
                        pairs
                    )
                best, bad = (loss, 0) if loss < best else (best, bad + 1)
                if bad >= self.options["patience"]:
                    return epoch + 1
        return epochs

    def draw(self, count, generator, rest):
        """Return the dropout of each pool member's layers, drawn as the product draws it."""
        nodes, hidden = len(self.graphs[0][0]), self.options["hidden"]
        drawn = draw_kept((count * (3 * nodes + 1), hidden), rest, generator)
        layers = (drawn.to(self.graphs[0][0].dtype) / rest).split([count * nodes] * 3 + [count])
        return [[part.view(count, -1, hidden)[i] for part in layers] for i in range(count)]


def _views(predictor, row):
    at = 0
    for entry in predictor.layout.values():
        yield predictor.weights[row, at : at + entry.size].view(entry.shape)
        at += entry.size
