"""The command line gets what nobody meant: exit status 2, one line that says why, no work done."""

import subprocess
import sys

import pytest

from numq import cli

LONG = "9" * 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: command"),
        (["nothing"], "invalid choice: 'nothing'"),
        (["--nope"], "required: command"),
        (["inspect"], "required: value"),
        (["inspect", ""], "value is ''; allowed is a number"),
        (["inspect", "x"], "value is 'x'; allowed is a number"),
        (["inspect", "True"], "value is 'True'; allowed is a number"),
        (["inspect", "1j"], "value is '1j'; allowed is a number"),
        (["inspect", "1/0"], "value is '1/0'; allowed is a number"),
        (["inspect", "0x"], "value is '0x'; allowed is a number"),
        (["inspect", "0b12"], "value is '0b12'; allowed is a number"),
        (["inspect", "\ud800"], r"value is '\ud800'; allowed is a number"),
        (["inspect", "1e99999"], "value is '1e99999'; allowed are exponents of up to four digits"),
        (["inspect", LONG], "value has 5000 characters; allowed are up to 4000"),
        (["inspect", LONG, "--format", "int8"], "...; allowed for an integer format are integers"),
        (["inspect", LONG, "--code"], "...; allowed for a code are integers of up to 4000 d"),
        (["inspect", "1", "2"], "unrecognized arguments: 2"),
        (["inspect", "1", "--format"], "--format: expected one argument"),
        (
            ["inspect", "1", "--format", "int9x"],
            "--format is 'int9x'; allowed are float64, float32",
        ),
        (["inspect", "1.5", "--format", "int8"], "value is '1.5'; allowed for an integer format"),
        (
            ["inspect", "nan", "--format", "e2m1"],
            "value is NaN; allowed in float4_e2m1 are numbers",
        ),
        (["inspect", "-1", "--code"], "code is -1; allowed are integers from 0 to"),
        (["inspect", "256", "--code", "--format", "int8"], "code is 256; allowed are integers"),
        (["inspect", "1.5", "--code"], "value is '1.5'; allowed for a code are integers"),
        (["demo", "--bits", "9"], "--bits is 9; allowed are widths from 2 to 8"),
        (["demo", "--bits", "4", "1"], "--bits is 1; allowed are widths from 2 to 8"),
        (["demo", "--bits", "4.0"], "--bits: invalid int value: '4.0'"),
        (["demo", "--bits"], "--bits: expected at least one argument"),
        (["demo", "--seed", "-1"], "--seed is -1; allowed are integers from 0 on"),
        (["demo", "--seed", "nan"], "--seed: invalid int value: 'nan'"),
        (["demo", "--out", ""], "--out: got '', which is no folder"),
        (["demo", "--out", "a\0b"], r"--out: got 'a\x00b', which is no folder"),
        (["demo", "--out", "/dev/null"], "--out: got '/dev/null', which is no folder"),
        (["demo", "--out", "/dev/null/x"], "Not a directory: '/dev/null/x'"),
        (["demo", "--qat", "--seeds", "0"], "--seeds is 0; allowed are integers from 1 on"),
        (["demo", "--networks", "rnn"], "--networks: invalid choice: 'rnn'"),
        (["bench", "--only", "x"], "--only: got 'x', allowed: matmul"),
        (["bench", "--threads", "0"], "--threads is 0; allowed is 1 to"),
        (["bench", "--threads", "x"], "--threads: invalid int value: 'x'"),
        (["bench", "--json", "/nowhere/x.json"], "--json is /nowhere/x.json, whose folder"),
        (["bench", "--json", "/"], "--json is /, which is there and is no file"),
        (["bench", "--picture", "x.txt"], "--picture is x.txt; allowed are .png"),
    ],
)
def test_a_command_is_refused(capsys, arguments, message):
    try:
        status = cli.main(arguments)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()[-1]) < 400


def piped(output, *arguments):
    """The command with its output going somewhere; its exit status and what it says."""
    code = f"import sys; from numq.cli import main; sys.exit(main({list(arguments)}))"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=output, stderr=subprocess.PIPE, text=True, check=False
    )
    return done.returncode, done.stderr


def test_a_reader_that_leaves_ends_the_command_quietly():
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
        reader.wait()
        assert piped(reader.stdin, "inspect", "1.5") == (cli.CLOSED, "")


def test_output_that_cannot_be_written():
    with open("/dev/full", "w") as full:
        status, message = piped(full, "inspect", "1.5")
    assert (status, message) == (2, "numq: [Errno 28] No space left on device\n")
