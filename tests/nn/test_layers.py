"""Layers against torch's with the same weights, and what a module remembers and refuses."""

import json
import struct

import numpy as np
import pytest

from numq import nn
from numq.autograd import Tensor
from numq.autograd import sum as total
from numq.nn.call import Call, Seen
from numq.storage import load_arrays, save_arrays


def rng():
    return np.random.default_rng(0)


def normal(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def assert_close(ours, theirs, terms=200):
    """Sums of up to `terms` products in float32, in whatever order, relative to the largest."""
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    bound = terms * 2.0**-24 * max(1.0, float(np.abs(theirs).max(initial=0)))
    assert np.abs(ours - theirs).max(initial=0) <= bound


def copied(module, other):
    """The torch module with our weights, name by name."""
    import torch

    state = {k: torch.tensor(v) for k, v in module.state_dict().items()}
    other.load_state_dict(state, strict=False)
    return other


def compare(ours, theirs, *arrays, pick=lambda y: y, terms=200):
    """Forward, and the gradients of the inputs and of all parameters of one name."""
    import torch

    inputs = [Tensor(a, requires_grad=True) for a in arrays]
    others = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = pick(ours(*inputs)), pick(theirs(*others))
    assert_close(y.data, z, terms)
    seed = normal(*y.shape)
    total(y * seed).backward()
    (z * torch.tensor(seed)).sum().backward()
    for a, b in zip(inputs, others, strict=True):
        assert_close(a.grad, b.grad, terms)
    named = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        assert_close(p.grad, named[name].grad, terms)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def test_layers_are_torchs(torch):
    t = torch.nn
    compare(m := nn.Linear(5, 3, rng=rng()), copied(m, t.Linear(5, 3)), normal(2, 4, 5))
    compare(
        m := nn.Linear(5, 3, False, rng=rng()), copied(m, t.Linear(5, 3, bias=False)), normal(2, 5)
    )
    m = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2, rng=rng())
    other = t.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2)
    compare(m, copied(m, other), normal(2, 4, 5, 5))
    compare(m := nn.LayerNorm(6), copied(m, t.LayerNorm(6)), normal(2, 3, 6))
    pairs = [
        (nn.GELU(), t.GELU()), (nn.SiLU(), t.SiLU()), (nn.Tanh(), t.Tanh()),
        (nn.LeakyReLU(0.2), t.LeakyReLU(0.2)), (nn.Sigmoid(), t.Sigmoid()),
        (nn.Softmax(), t.Softmax(-1)), (nn.MaxPool2d(2, stride=1, padding=1), t.MaxPool2d(2, 1, 1)),
        (nn.AvgPool2d(2, padding=1, count_include_pad=True), t.AvgPool2d(2, padding=1)),
        (nn.GlobalAvgPool2d(), t.AdaptiveAvgPool2d(1)), (nn.Flatten(), t.Flatten()),
    ]  # fmt: skip
    for ours, theirs in pairs:
        compare(ours, theirs, normal(2, 3, 4, 4))


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2, 2)])
def test_batch_norm_trains_evaluates_and_freezes_as_torchs(torch, shape):
    ours = nn.BatchNorm(3, momentum=0.3)
    theirs = (torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d)(3, momentum=0.3)
    for _ in range(2):
        compare(ours, theirs, normal(*shape) * 2 + 1)
        ours.weight.grad = ours.bias.grad = theirs.weight.grad = theirs.bias.grad = None
    assert_close(ours.running_mean.data, theirs.running_mean)
    assert_close(ours.running_var.data, theirs.running_var)
    compare(ours.eval(), theirs.eval(), normal(*shape))
    kept = ours.running_mean.data
    y = ours.train().freeze()(normal(*shape))
    assert (y.data == ours.eval()(normal(*shape)).data).all()
    assert (ours.running_mean.data == kept).all()


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_recurrent_layers_are_torchs(torch, name):
    ours = getattr(nn, name)(5, 4, rng=rng())
    theirs = getattr(torch.nn, name)(5, 4, batch_first=True)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    with torch.no_grad():
        for n in names:
            getattr(theirs, f"{n}_l0").copy_(torch.tensor(getattr(ours, n).data))
    x, seed = normal(3, 7, 5), normal(3, 7, 4)
    y, _ = ours(x)
    z, last = theirs(torch.tensor(x))
    assert_close(y.data, z)
    total(y * seed).backward()
    (z * torch.tensor(seed)).sum().backward()
    for n in names:
        assert_close(getattr(ours, n).grad, getattr(theirs, f"{n}_l0").grad, 500)
    # A state given is a sequence continued.
    first, state = ours(x[:, :3])
    assert_close(np.concatenate([first.data, ours(x[:, 3:], state)[0].data], 1), z)
    states = ours(x)[1]
    for mine, other in zip(
        *((states, last) if name == "LSTM" else ((states,), (last,))), strict=True
    ):
        assert_close(mine.data, other[0])


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_torchs(torch, masked):
    ours = nn.MultiheadAttention(8, 2, rng=rng())
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    parts = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.tensor(np.concatenate([p.weight.data for p in parts])))
        theirs.in_proj_bias.copy_(torch.tensor(np.concatenate([p.bias.data for p in parts])))
        theirs.out_proj.weight.copy_(torch.tensor(ours.out.weight.data))
        theirs.out_proj.bias.copy_(torch.tensor(ours.out.bias.data))
    x, memory = normal(3, 5, 8), normal(3, 5, 8)[:, ::-1].copy()
    mask = nn.causal_mask(5) if masked else None
    other = torch.tensor(~mask.data) if masked else None  # torch marks what must not be seen
    tx, tm = torch.tensor(x), torch.tensor(memory)
    assert_close(ours(x, None, mask).data, theirs(tx, tx, tx, attn_mask=other)[0])
    assert_close(ours(x, memory, mask).data, theirs(tx, tm, tm, attn_mask=other)[0])


def test_embedding_and_dropout():
    table = nn.Embedding(5, 3, rng=rng())
    y = table(np.array([[1, 1], [4, 0]]))
    total(y).backward()
    assert (y.data == table.weight.data[[[1, 1], [4, 0]]]).all()
    assert table.weight.grad[:, 0].tolist() == [1, 2, 0, 0, 1]
    drop, x = nn.Dropout(0.25, rng=rng()), np.ones(40_000, np.float32)
    y = drop(x).data
    assert set(np.unique(y)) == {0, np.float32(4 / 3)}
    assert abs((y == 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 40_000)  # five deviations
    assert (drop.eval()(x).data == 1).all()


class Own(nn.Module):
    def __init__(self):
        self.blocks = [nn.Linear(2, 2, rng=rng()), nn.ReLU()]
        self.heads = {"left": nn.Linear(2, 1, rng=rng()), "right": nn.BatchNorm(2)}
        self.shared = self.blocks[0]

    def forward(self, x, other=None):
        for block in self.blocks:
            x = block(x)
        return self.heads["left"](self.heads["right"](x))


def test_names():
    model = Own()
    names = ["blocks.0.weight", "blocks.0.bias", "heads.left.weight", "heads.left.bias",
             "heads.right.weight", "heads.right.bias"]  # fmt: skip
    assert [n for n, _ in model.named_parameters()] == names
    buffers = ["heads.right.running_mean", "heads.right.running_var"]
    assert [n for n, _ in model.named_buffers()] == buffers
    assert list(model.state_dict()) == [*names, *buffers]
    assert {m.training for _, m in model.eval().named_modules()} == {False}
    model(np.ones((3, 2), np.float32), None)
    assert model.seen == Call((Seen((3, 2), np.dtype(np.float32)), None))
    assert "heads.left: Linear(2 -> 1)" in repr(model)
    with pytest.raises(TypeError, match="x is 'a'"):
        model("a")


def test_state_is_loaded_whole_or_not_at_all(tmp_path):
    model, other = Own(), Own()
    other.blocks[0].weight.data = np.ones((2, 2), np.float32)
    other.save(tmp_path / "state.safetensors")
    model.load(tmp_path / "state.safetensors")
    assert (model.blocks[0].weight.data == 1).all()
    state = {k: v + 1 for k, v in other.state_dict().items()}
    state["blocks.0.bias"] = np.ones(3, np.float32)
    state["heads.left.bias"] = np.ones(1, int)
    state["more"] = state.pop("heads.left.weight")
    message = (
        r"nothing was loaded: blocks.0.bias is float32 \(3,\), allowed is float32 \(2,\); "
        r"heads.left.bias is int64 .*; heads.left.weight is missing; more is unknown"
    )
    with pytest.raises(ValueError, match=message):
        model.load_state_dict(state)
    assert (model.blocks[0].weight.data == 1).all()


def sealed(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x10\x00",
        sealed({"a": entry()}),  # no data behind the header
        sealed({"a": entry()}, bytes(4), length=2**40),
        sealed({"a": entry()}, bytes(4), length=2**63),
        sealed(b"{not json", bytes(4)),
        sealed(b'{"a":' * 10_000, bytes(4)),
        sealed({"a": entry(shape=(2**62, 4))}, bytes(4)),
        sealed({"a": entry(shape=(2,))}, bytes(4)),
        sealed({"a": entry(offsets=(0, 2**40))}, bytes(4)),
        sealed({"a": entry(offsets=(4, 0))}, bytes(4)),
        sealed({"a": entry(), "b": entry()}, bytes(4)),  # overlapping
        sealed({"a": entry(dtype="OBJ")}, bytes(4)),
        sealed({"a": entry(shape=(-1,))}, bytes(4)),
        sealed({"a": 5}, bytes(4)),
        sealed({"a": entry()}, bytes(9)),  # more data than declared
    ],
)
def test_hostile_files(tmp_path, content):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"hostile.safetensors, which is no sound"):
        load_arrays(path)
    model = Own()
    before = model.state_dict()
    with pytest.raises(ValueError, match="hostile"):
        model.load(path)
    assert all((before[k] == v).all() for k, v in model.state_dict().items())


def test_truncated_files(tmp_path):
    path = tmp_path / "whole.safetensors"
    arrays = {"a": np.arange(6, dtype=np.int8).reshape(2, 3), "b": np.float32(2), "c": np.ones(0)}
    save_arrays(path, arrays, {"k": "v"})
    again, metadata = load_arrays(path)
    assert metadata == {"k": "v"}
    assert {k: (v.shape, v.dtype, v.tolist()) for k, v in again.items()} == {
        k: (v.shape, v.dtype, v.tolist()) for k, v in arrays.items()
    }
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="no sound"):
            load_arrays(path)
    with pytest.raises(FileNotFoundError):
        load_arrays(tmp_path / "none")


class Rest(nn.Module):
    def forward(self, x, *others, scale=1):
        return x


ROW = np.ones((1, 1, 2), np.float32)
GRU_STATE = r"^state is a tuple; allowed are None and a Tensor \(N, hidden\)"


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2, rng=rng()), ValueError, "groups is 2"),
        (lambda: nn.Conv2d(3, 4, 0, rng=rng()), ValueError, "kernel is 0"),
        (lambda: nn.Linear(2, 2, rng=None), TypeError, "rng is None"),
        (lambda: nn.BatchNorm(2, momentum=2), ValueError, "momentum is 2"),
        (lambda: nn.Dropout(1.0, rng=rng()), ValueError, "p is 1.0"),
        (lambda: nn.MultiheadAttention(5, 2, rng=rng()), ValueError, "heads is 2"),
        (
            lambda: nn.LSTM(2, 3, rng=rng())(np.ones((1, 0, 2))),
            ValueError,
            r"x has shape \(1, 0, 2",
        ),
        (lambda: nn.Sequential(nn.ReLU(), 5), TypeError, r"layers\[1\] is 5"),
        (lambda: nn.Embedding(5, 4, rng=rng())([1, 2]), TypeError, r"^ids is \[1, 2\]; allowed"),
        (lambda: nn.LSTM(2, 3, rng=rng())(ROW, "h"), TypeError, "^state is 'h'; allowed are"),
        (lambda: nn.LSTM(2, 3, rng=rng())(ROW, (None, None)), TypeError, r"^state\[0\] is None"),
        (lambda: nn.GRU(2, 3, rng=rng())(ROW, (ROW[0], ROW[0])), TypeError, GRU_STATE),
        (lambda: nn.GRU(2, 3, rng=rng())(ROW, state=[ROW[0]]), TypeError, "^state is .*; allowed"),
        (lambda: Rest()(ROW, ROW, 3), TypeError, r"^others\[1\] is 3; allowed are Tensors and"),
        (lambda: nn.ReLU()(ROW, 3), TypeError, "^argument 1 is 3; allowed are Tensors and arrays"),
    ],
)
def test_errors(action, error, message):
    with pytest.raises(error, match=message):
        action()
