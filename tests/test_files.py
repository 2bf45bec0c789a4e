"""Files: whole or not there, the same bytes for the same content, and no damage unseen."""

import errno
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from numq import flows, nn, storage
from numq.files import read_whole, write_whole
from numq.storage import load_arrays, save_arrays

ARRAYS = {"b": np.array([[1.5, -2.0]], np.float32), "a": np.array([7, -1, 3], np.int8)}
METADATA = {"format": "some text", "a key": "é"}


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@contextmanager
def as_user(folder):
    """As one who is not root, to whom everything is permitted."""
    root = os.geteuid() == 0
    if root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


# What is stored comes back.

DTYPES = [
    *(np.dtype(t) for t in "?bBhHiIqQefd"),
    np.dtype(ml_dtypes.bfloat16), np.dtype(ml_dtypes.float8_e4m3fn),
    np.dtype(ml_dtypes.float8_e5m2),
]  # fmt: skip


@st.composite
def stored_arrays(draw):
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    count = int(np.prod(shape)) * dtype.itemsize
    raw = draw(st.binary(min_size=count, max_size=count))
    if dtype.kind == "b":
        raw = bytes(b & 1 for b in raw)
    return np.frombuffer(raw, dtype).reshape(shape)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=50)
@given(
    st.dictionaries(texts, stored_arrays(), max_size=4), st.dictionaries(texts, texts, max_size=3)
)
def test_every_array_comes_back_bit_for_bit(tmp_path_factory, arrays, metadata):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    reserved = {"checked", "sha256"} & metadata.keys()
    if reserved or "__metadata__" in arrays:
        with pytest.raises(ValueError, match="allowed is"):
            save_arrays(path, arrays, metadata)
        return
    assert save_arrays(path, arrays, metadata) == path.stat().st_size
    again, text = load_arrays(path)
    assert text == metadata
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (again[name].dtype, again[name].shape) == (array.dtype, array.shape)
        assert again[name].tobytes() == array.tobytes()
        assert again[name].flags.writeable


def test_any_order_and_layout_gives_the_same_bytes(tmp_path):
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    save_arrays(first, ARRAYS, METADATA)
    strided = np.zeros((1, 4), ">f4")
    strided[:, ::2] = ARRAYS["b"]
    other = {"a": ARRAYS["a"][::-1].copy()[::-1], "b": strided[:, ::2]}
    save_arrays(second, other, dict(reversed(METADATA.items())))
    assert first.read_bytes() == second.read_bytes()


def test_the_bytes_do_not_depend_on_the_process(tmp_path):
    code = (
        "import numpy as np; from numq.storage import save_arrays\n"
        "save_arrays('a.safetensors', {n: np.ones(2, np.float32) for n in 'abc'},"
        " {n: n for n in 'defgh'})"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1", "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    save_arrays(
        tmp_path / "b.safetensors",
        {n: np.ones(2, np.float32) for n in "abc"},
        {n: n for n in "defgh"},
    )
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"__metadata__": np.ones(1)}, ValueError, r"'?__metadata__'?; allowed is any text"),
        ({"\ud800": np.ones(1)}, ValueError, "allowed is any text"),
        ({3: np.ones(1)}, ValueError, "the name 3"),
        ({}, ValueError, "metadata has 'sha256': 'x'; allowed is text"),
        ({"a": np.array([None])}, TypeError, r"arrays\['a'\] has dtype object; allowed are bool"),
        ({"a": np.array(["x"])}, TypeError, r"arrays\['a'\] has dtype <U1"),
        ({"a": np.ones(1, np.longdouble)}, TypeError, r"arrays\['a'\] has dtype float128"),
        ({"a": np.ma.masked_array([1.0], [True])}, TypeError, r"arrays\['a'\] is a masked array"),
    ],
)
def test_what_cannot_be_stored_is_named(tmp_path, arrays, error, message):
    with pytest.raises(error, match=message):
        save_arrays(tmp_path / "a.safetensors", arrays, {} if arrays else {"sha256": "x"})
    assert names(tmp_path) == []


# Damage is seen.


def test_every_flipped_bit_and_every_truncation_is_seen(tmp_path, monkeypatch):
    path = tmp_path / "small.safetensors"
    save_arrays(path, ARRAYS, METADATA)
    whole, refused = path.read_bytes(), 0

    def read_as_before(content):
        """Whether the file is read, to what was stored; False if it is refused."""
        monkeypatch.setattr(storage, "read_whole", lambda _: content)
        try:
            arrays, metadata = load_arrays(path)
        except ValueError as error:
            if f"path is {path}, which is no sound safetensors file: " not in str(error):
                raise
            return False
        assert metadata == METADATA
        assert arrays.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            assert (array.dtype, array.tobytes()) == (arrays[name].dtype, arrays[name].tobytes())
        return True

    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        refused += not read_as_before(bytes(flipped))
    assert refused > 7.5 * len(whole)  # only blanks and the spelling of numbers may differ
    assert not any(read_as_before(whole[:length]) for length in range(len(whole)))
    assert not read_as_before(whole + b"\0")
    assert read_as_before(whole)


def test_files_of_others_have_no_digest_and_are_read(tmp_path):
    from safetensors.numpy import save_file

    save_file(ARRAYS, tmp_path / "other.safetensors", metadata={"by": "another"})
    arrays, metadata = load_arrays(tmp_path / "other.safetensors")
    assert metadata == {"by": "another"}
    assert all((arrays[name] == array).all() for name, array in ARRAYS.items())


# Names and folders.


@pytest.mark.parametrize("suffix", [".onnx", ".pt", ".npz", ".ONNX"])
def test_a_suffix_of_another_format_is_refused(tmp_path, suffix):
    model = nn.Linear(2, 2, rng=np.random.default_rng(0))
    model(np.ones((1, 2), np.float32))
    path = tmp_path / f"x{suffix}"
    for save in (model.save, flows.weight_only(model).save):
        with pytest.raises(ValueError, match=rf"path is .*x\{suffix}; .* \.safetensors"):
            save(path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["plain", "x.safetensors", "v1.2", "ü" * 127, "n" * 255])
def test_names_as_long_as_the_system_has_them(tmp_path, name):
    save_arrays(tmp_path / name, ARRAYS, {})
    assert names(tmp_path) == [name]
    assert load_arrays(str(tmp_path / name))[0].keys() == ARRAYS.keys()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("n" * 256, OSError),
        ("missing/x", FileNotFoundError),
        ("folder", IsADirectoryError),
        ("file/x", OSError),
        ("loop", OSError),
        ("pipe", OSError),
        ("/dev/null", OSError),
        ("/dev/full", OSError),
    ],
)
def test_what_is_no_place_for_a_file(tmp_path, path, kind):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    before = names(tmp_path)
    for call in (lambda p: write_whole(p, b"abc"), read_whole):
        with pytest.raises(kind) as caught:
            call(tmp_path / path)
        assert str(tmp_path / path) in str(caught.value)
        assert ".partial" not in str(caught.value)
    assert names(tmp_path) == before
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (5, TypeError), (True, TypeError), (None, TypeError), (b"bytes", TypeError),
        (Path, TypeError), (["x"], TypeError), ("", ValueError), ("a\0b", ValueError),
    ],
)  # fmt: skip
def test_what_is_no_path(path, error):
    for call in (lambda p: save_arrays(p, {}, {}), load_arrays):
        with pytest.raises(error, match=r"^path is "):
            call(path)


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    target = tmp_path / "there" / "file"
    for link in ("here/absolute", "here/relative", "here/chain"):
        (tmp_path / link).symlink_to(
            {"absolute": target, "relative": "../there/file", "chain": "relative"}[link[5:]]
        )
        for content in (b"first", b"second"):  # the first into a link that leads nowhere yet
            write_whole(tmp_path / link, content)
            assert (tmp_path / link).is_symlink()
            assert target.read_bytes() == content
        target.unlink()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o604, 0o666])
def test_a_file_keeps_its_permissions_and_its_owner(tmp_path, mode):
    path = tmp_path / "private"
    path.write_bytes(b"old")
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    before = path.stat()
    write_whole(path, b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", mode)
    assert (path.stat().st_uid, path.stat().st_gid) == (before.st_uid, before.st_gid)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_a_new_file_gets_what_the_umask_leaves(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "new", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o666 & ~umask


def test_a_private_file_is_never_open_to_others(tmp_path, monkeypatch):
    path, seen = tmp_path / "private", []
    path.write_bytes(b"old")
    path.chmod(0o600)
    write = Path.write_bytes

    def watched(partial, content):
        write(partial, content)
        seen.append(stat.S_IMODE(partial.stat().st_mode))

    monkeypatch.setattr(Path, "write_bytes", watched)
    write_whole(path, b"new")
    assert seen == [0o600]


def test_write_protected_files_and_folders():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "protected"
        path.write_bytes(b"old")
        path.chmod(0o444)
        with as_user(folder), pytest.raises(PermissionError, match=f"denied.*{path}"):
            write_whole(path, b"new")
        folder.chmod(0o555)
        with as_user(folder), pytest.raises(PermissionError, match=f"{folder}/new"):
            write_whole(folder / "new", b"new")
        folder.chmod(0o755)
        path.chmod(0o000)
        with as_user(folder), pytest.raises(PermissionError, match=str(path)):
            read_whole(path)
        assert names(folder) == ["protected"]
        path.chmod(0o644)
        assert path.read_bytes() == b"old"


# Faults, kills and company.


def test_no_room(tmp_path):
    """A limit on the size of a file ends a write as a full disk does: in its middle."""
    path = tmp_path / "large"
    write_whole(path, b"old")
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=re.escape(str(path))) as caught:
            write_whole(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert (names(tmp_path), path.read_bytes()) == (["large"], b"old")


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "no space"), KeyboardInterrupt()])
def test_a_fault_at_any_step_leaves_the_old_file(tmp_path, monkeypatch, step, fault):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def fails(*_):
        raise fault

    monkeypatch.setattr(Path, step, fails)
    with pytest.raises(type(fault)) as caught:
        write_whole(path, b"new")
    if isinstance(fault, OSError):
        assert str(caught.value) == f"[Errno {errno.ENOSPC}] no space: '{path}'"
    monkeypatch.undo()
    assert (names(tmp_path), path.read_bytes()) == (["file"], b"old")


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_cleans_up(tmp_path):
    path = tmp_path / "file.safetensors"
    save_arrays(path, {"a": np.zeros(1)}, {})
    code = (
        "import sys, time; from pathlib import Path; from numq.files import write_whole\n"
        "Path.chmod = lambda *_: (print(flush=True), time.sleep(60))\n"  # written, not yet renamed
        "write_whole(sys.argv[1], bytes(1000))"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for writer in writers:
            writer.stdout.readline()
        assert len(names(tmp_path)) == 3
        writers[0].send_signal(signal.SIGKILL)
        writers[0].wait()
        assert len(names(tmp_path)) == 3
        assert load_arrays(path)[0]["a"].tolist() == [0]
        (tmp_path / ".numq-of-somebody.partial").touch()
        save_arrays(path, {"a": np.ones(1)}, {})  # removes what the dead one left, nothing else
        kept = names(tmp_path)
        assert len(kept) == 3
        assert {".numq-of-somebody.partial", "file.safetensors"} < set(kept)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.stdout.close()
    save_arrays(path, {"a": np.ones(1)}, {})
    assert names(tmp_path) == [".numq-of-somebody.partial", "file.safetensors"]


def test_threads_on_one_path_see_whole_files(tmp_path):
    path, faults = tmp_path / "shared.safetensors", []
    save_arrays(path, {"a": np.zeros(500)}, {"by": "0"})

    def work(me):
        try:
            for i in range(15):
                if me % 2:
                    save_arrays(path, {"a": np.full(500 + me, me)}, {"by": str(me)})
                arrays, metadata = load_arrays(path)
                by = int(metadata["by"])
                assert arrays["a"].tolist() == [by] * (500 + by)
                assert i < 15
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert names(tmp_path) == ["shared.safetensors"]
