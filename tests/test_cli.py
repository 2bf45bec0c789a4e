"""The doors: the command line, the demo behind it, and the files that they leave."""

import io
import os
import re
import struct
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from safetensors.numpy import load_file
from sklearn.datasets import load_digits

import numq as nq
from numq import cli, data, flows
from numq.experiments import demo
from numq.experiments.report import draw
from numq.formats import FLOAT_FORMATS, INT_FORMATS
from numq.nn import Linear, ReLU, Sequential


@pytest.mark.parametrize(
    ("value", "format", "head", "bits"),
    [
        ("2.718281828459045", "float16", "-> 2.71875  (error +4.7e-04)", "0 10000 0101110000"),
        ("-1", "float8_e4m3fn", "-1.0 -> -1.0  (exact)", "1 0111 000"),
        ("inf", "float16", "inf -> inf", "0 11111 0000000000"),
        ("1e9", "float8_e4m3fn", "1000000000.0 -> nan", "0 1111 111"),
        ("nan", "float8_e5m2", "nan -> nan", "0 11111 10"),
        ("0x3f", "float4_e2m1", "63.0 -> 6.0  (error -5.7e+01; saturates)", "0 11 1"),
        ("0x3f", "int8", "63 fits [-128, 127]", "00111111"),
        ("-1", "int16", "-1 fits [-32768, 32767]", "11111111 11111111"),
        ("0b101", "uint4", "5 fits [0, 15]", "0101"),
        ("1024", "int32", "1024 fits", "00000000 00000000 00000100 00000000"),
        ("510", "uint8", "510 does not fit [0, 255]: it needs 9 bits", "11111110"),
    ],
)
def test_inspect(capsys, value, format, head, bits):
    code = cli.main(["inspect", value, "--format", format])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].startswith(f"{format}  ")
    assert head in lines[0]
    assert lines[1] == f"  {bits}"


@pytest.mark.parametrize(
    ("value", "format", "head", "bits"),
    [
        ("0x3f", "e4m3", "float8_e4m3fn  1.875 -> 1.875  (exact)", "0 0111 111"),
        ("0xBF", "FP8_E4M3", "float8_e4m3fn  -1.875", "1 0111 111"),
        ("0x3C00", "half", "float16  1.0 -> 1.0", "0 01111 0000000000"),
        ("0x3f80", "bf16", "bfloat16  1.0", "0 01111111 0000000"),
        ("0b01111100", "e5m2", "float8_e5m2  inf -> inf", "0 11111 00"),
        ("127", "e4m3fn", "float8_e4m3fn  nan -> nan", "0 1111 111"),
        ("0x8", "fp4", "float4_e2m1  -0.0 -> -0.0", "1 00 0"),
        ("0xff", "i8", "int8  -1 fits [-128, 127]", "11111111"),
        ("0xff", "u8", "uint8  255 fits", "11111111"),
        ("0x80", "int8_narrow", "int8_narrow  -128 does not fit", "10000000"),
        ("0xfff", "int12", "int12  -1 fits", "1111 11111111"),
    ],
)
def test_inspect_a_code(capsys, value, format, head, bits):
    assert cli.main(["inspect", value, "--format", format, "--code"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(head)
    assert lines[1] == f"  {bits}"


def test_inspect_reads_hexadecimal_floats(capsys):
    assert cli.main(["inspect", "-0x1.8p3", "--format", "fp16"]) == 0
    assert capsys.readouterr().out.startswith("float16  -12.0 -> -12.0  (exact)")


@pytest.mark.parametrize("format", [f.name for f in (*FLOAT_FORMATS, *INT_FORMATS)])
def test_every_format_can_be_named(capsys, format):
    assert cli.main(["inspect", "1", "--format", format]) == 0
    assert capsys.readouterr().out.startswith(f"{format}  1")
    assert cli.main(["inspect", "0.1"]) == 0
    assert capsys.readouterr().out.startswith("float32  0.1 -> 0.10000000149011612")


@pytest.mark.parametrize(
    ("value", "format", "head"),
    [
        ("-inf", "float32", "float32  -inf -> -inf"),
        ("-1e5", "float32", "float32  -100000.0 -> "),
        ("-0x3f", "int8", "int8  -63 fits"),
    ],
)
def test_negative_numbers_are_not_taken_for_options(capsys, value, format, head):
    assert cli.main(["inspect", value, "--format", format]) == 0
    assert capsys.readouterr().out.startswith(head)


def test_an_integer_that_a_double_lacks_is_not_called_exact(capsys):
    assert cli.main(["inspect", "9007199254740993", "--format", "float64"]) == 0  # 2^53 + 1
    assert "9007199254740993 -> 9007199254740992.0  (error -1.0e+00)" in capsys.readouterr().out


def test_overflow_is_said(capsys):
    assert cli.main(["inspect", "1e400", "--format", "float64"]) == 0
    assert "inf  (overflows)" in capsys.readouterr().out
    assert cli.main(["inspect", "65520", "--format", "float16"]) == 0
    assert "65520.0 -> inf  (overflows)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "two"], "value is 'two'; allowed is a number"),
        (["inspect", "-2.5", "--format", "int8"], "value is '-2.5'; allowed for an integer"),
        (["inspect", "inf", "--format", "uint8"], "value is 'inf'; allowed for an integer"),
        (["inspect", "nan", "--format", "float4_e2m1"], "NaN; allowed in float4_e2m1 are numbers"),
        (["inspect", "1", "--format", "float12"], "--format is 'float12'; allowed are float64, "),
        (
            ["inspect", "0x1zp3"],
            "value is '0x1zp3'; allowed is a number such as 2.71828, 0x3f, 0x1",
        ),
        (["inspect", "1.5", "--code"], "value is '1.5'; allowed for a code are integers"),
        (["inspect", "0x100", "--code", "--format", "e4m3"], "code is 256; allowed are integers"),
        (["inspect", "-1", "--code"], "code is -1; allowed are integers from 0 to 4294967295"),
        (["inspect", "1", "--format", "int17"], "--format is 'int17'; allowed are float64, "),
        (["inspect", "1", "--format", "u32"], "--format is 'u32'"),
        (["inspect", "1e99999"], "exponents of up to four digits"),
        (["demo", "--bits", "8", "1"], "--bits is 1; allowed are widths from 2 to 8"),
        (["demo", "--bits", "9"], "--bits is 9; allowed"),
        (["demo", "--seed", "-1"], "--seed is -1; allowed"),
    ],
)
def test_errors_are_one_line(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("numq: ")
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())  # refused before anything is made


@pytest.mark.parametrize("arguments", [[], ["train"], ["inspect"], ["demo", "--bits", "four"]])
def test_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: numq" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["rich", "sklearn", "matplotlib"])
def test_a_missing_extra_is_named_before_any_work(capsys, tmp_path, monkeypatch, missing):
    for name in [missing, *(n for n in sys.modules if n.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(demo, "train", lambda *_: pytest.fail("training has begun"))
    assert cli.main(["demo", "--out", str(tmp_path / "out")]) == 2
    message = rf"numq: {missing}\S* is missing; install .*'numq\[demo\]'"
    assert re.match(message, capsys.readouterr().err)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One run of the whole demo: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "deep" / "out"
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert cli.main(["demo", "--bits", "8", "4", "8", "--out", str(folder)]) == 0
    return folder, printed.getvalue()


def rows(text):
    """name with widths: (accuracy, agreement) in percent, bytes."""
    found = re.findall(r"^ ?(\S.*?)  +([\d.]+)% +([\d.]+)% +(\d+) ", text, re.MULTILINE)
    assert len({name for name, *_ in found}) == len(found)
    return {name: (float(a), float(b), int(n)) for name, a, b, n in found}


def test_demo_table(ran):
    folder, text = ran
    table = rows(text)
    widths = ["w8a8", "w4a8", "w4a4"]
    names = [f"{way} {w}" for way in ("dynamic", "static") for w in widths]
    assert set(table) == {"float", "weight-only w8", "weight-only w4", *names}
    accuracy, agreement, size = table["float"]
    assert accuracy > 95
    assert agreement == 100
    for name, (ours, same, nbytes) in table.items():
        assert nbytes == (folder / file_of(name)).stat().st_size
        # Where the answers agree, so do the hits; each figure is rounded to 0.005.
        assert same <= 100 - abs(ours - accuracy) + 0.015
        if "8a8" in name or name.endswith("w8"):
            assert abs(ours - accuracy) <= 0.5
            assert same > accuracy  # 8 bits hardly ever change an answer, right or wrong
            assert nbytes < size / 3
        else:
            assert name == "float" or nbytes < size / 4.5  # the file holds the graph, too
    assert "…" not in text  # 80 columns hold every header and cell


def file_of(name):
    if name == "float":
        return "float32.safetensors"
    way, widths = name.split()
    return f"{way}_{widths}.safetensors"


def test_demo_files(ran):
    folder, text = ran
    assert {p.name for p in folder.iterdir()} == {*map(file_of, rows(text)), "demo.png"}
    for name in rows(text):
        arrays = load_file(folder / file_of(name))
        integers = {k: v for k, v in arrays.items() if v.dtype.kind in "iu"}
        if name.startswith("static"):  # floats are biases and what codes mean
            floats = arrays.keys() - integers.keys()
            assert all(key.endswith((":scale", ".bias")) for key in floats)
    weights = load_file(folder / "static_w4a4.safetensors")
    assert weights["0.weight"].nbytes == 64 * 128 // 2


def test_demo_picture(ran):
    data = (ran[0] / "demo.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")
    pixels = imread(ran[0] / "demo.png", format="png")
    height, width, _ = pixels.shape
    assert min(width / 1000, height / 400) >= 1
    assert len(np.unique(pixels.reshape(height * width, -1), axis=0)) > 50  # something is drawn


def test_demo_picture_shows_the_rows():
    rows = [demo.Row("float", 32, 32, 0.9, 1.0, 2048, np.inf, 1.0)]
    rows.append(demo.Row("static", 8, 8, 0.8, 0.95, 1024, 40.0, 0.5))
    size, accuracy, ratio = draw(rows, 100, Figure())
    assert [bar.get_width() for bar in size.patches] == [2.0, 1.0]
    assert [bar.get_width() for bar in ratio.patches] == [0.0, 40.0]
    points, _, (intervals,) = accuracy.containers[0]
    assert points.get_xdata().tolist() == [90.0, 80.0]
    ends = [segment[:, 0] for segment in intervals.get_segments()]
    halves = [100 * 1.96 * np.sqrt(p * (1 - p) / 100) for p in (0.9, 0.8)]
    np.testing.assert_allclose([(high - low) / 2 for low, high in ends], halves)


def test_demo_draws_without_a_backend(ran, tmp_path):
    """As a Jupyter kernel's environment has it, whose backend another environment lacks."""
    code = "from numq.experiments.report import picture; from numq.experiments.demo import Row; "
    code += "from pathlib import Path; "
    code += "picture([Row('float', 32, 32, 0.9, 1.0, 2048, 50.0, 1.0)], 9, Path('demo.png'))"
    environment = os.environ | {"MPLBACKEND": "module://nothere.inline"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    assert (tmp_path / "demo.png").exists()


def test_digits_are_split_into_disjoint_parts():
    parts = data.load_digits(3)
    both = [(parts.train, 1000), (parts.calibration, 200), (parts.test, 597)]
    for (x, y), count in both:
        assert (x.shape, y.shape, x.dtype) == ((count, 64), (count,), np.float32)
        assert (x.min(), x.max()) == (0, 1)
        assert set(y.tolist()) == set(range(10))
    together = np.vstack([np.column_stack([x, y]) for (x, y), _ in both])
    pixels, labels = load_digits(return_X_y=True)
    original = np.column_stack([pixels / 16, labels])
    assert sorted(together.tolist()) == sorted(original.tolist())
    assert (data.load_digits(3).train[0] == parts.train[0]).all()
    assert (data.load_digits(4).train[0] != parts.train[0]).any()


def test_training_lowers_the_loss_and_repeats():
    digits, losses = data.load_digits(0), []
    for _ in range(2):
        rng = np.random.default_rng(5)
        model = demo.digits_model(rng)
        losses.append(list(demo.train(model, digits, 3, rng)))
    assert losses[0] == losses[1]
    assert losses[0][2] < losses[0][0] / 2


@pytest.fixture
def networks():
    rng = np.random.default_rng(0)
    model = Sequential(Linear(7, 5, rng=rng), ReLU(), Linear(5, 3, rng=rng))
    grouped = nq.AffineQuantizer(nq.INT4, nq.PerGroup(1, 4))
    x = rng.normal(0, 1, (20, 7)).astype(np.float32)
    model(x)
    return {
        "weight-only": flows.weight_only(model, weights=grouped),
        "dynamic": flows.dynamic(model),
        "static": flows.static(model, [x], weights=nq.AffineQuantizer(nq.INT4, nq.PerChannel(0))),
    }


# Bytes of each array, by hand. A Linear of 7 → 5 with 4-bit codes packs 35 of them into 18 bytes.
SIZES = {
    "weight-only": {
        "0.weight": 18, "0.weight:scale": 40, "0.weight:zero_point": 5, "0.bias": 20,
        "2.weight": 8, "2.weight:scale": 24, "2.weight:zero_point": 3, "2.bias": 12,
    },
    "dynamic": {
        "0.weight": 35, "0.weight:scale": 20, "0.bias": 20, "2.weight": 15,
        "2.weight:scale": 12, "2.bias": 12,
    },
    "static": {
        "0.weight": 18, "0.weight:scale": 20, "0.weight:zero_point": 3, "0.bias": 20,
        "2.weight": 8, "2.weight:scale": 12, "2.weight:zero_point": 2, "2.bias": 12,
        "edge:x:codes:scale": 4, "edge:x:codes:zero_point": 1, "edge:relu:codes:scale": 4,
        "edge:relu:codes:zero_point": 1, "edge:2:codes:scale": 4, "edge:2:codes:zero_point": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_saved_files(tmp_path, networks, name):
    path = tmp_path / "net.safetensors"
    size = networks[name].save(path)
    raw = path.read_bytes()
    (header,) = struct.unpack_from("<Q", raw)
    assert size == len(raw) == 8 + header + sum(SIZES[name].values())
    arrays = load_file(path)
    assert {k: v.nbytes for k, v in arrays.items()} == SIZES[name]
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]
    constants = networks[name].graph.constants
    first = constants["0.weight"]
    assert nq.unpack(arrays["0.weight"], first.format, 35).tolist() == first.codes.ravel().tolist()
    assert (arrays["0.bias"] == constants["0.bias"]).all()
    x = np.random.default_rng(1).normal(0, 1, (20, 7)).astype(np.float32)
    assert (flows.Network.load(path)(x) == networks[name](x)).all()


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch, networks):
    network = networks["dynamic"]
    with pytest.raises(OSError, match="missing"):
        network.save(tmp_path / "missing" / "net.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        network.save(tmp_path / "folder")
    assert [p.name for p in tmp_path.rglob("*")] == ["folder"]

    path = tmp_path / "net.safetensors"
    network.save(path)
    before = path.read_bytes()

    whole = Path.write_bytes

    def breaks_off(target, data):
        whole(target, data[: len(data) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", breaks_off)
    with pytest.raises(OSError, match="disk full"):
        network.save(path)
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "net.safetensors"}
