"""Opening through a reader: the same model as from the file, its bytes copied once, and whatever the reader does answered with a status."""
import ctypes
import io

import ditq_c as ditq
import pytest
import safetensors_io
import torch_io
from conftest import EMOJI, FIXTURES
from ditq_c import BytesReader, lib

import ditq as package

W8A8 = EMOJI.with_name("emoji-w8a8.ditq")
PIECE = 4 << 20  # as the header says


def picture(model):
    with model.session(threads=1) as session:
        return session.generate([3], [5], steps=2).tobytes()


def refused(reader, **options):
    handle = ctypes.c_void_p(0x5A)
    status, message = ditq.outcome(lib.ditq_model_open_reader, ctypes.byref(reader.struct), ctypes.byref(ditq.ModelOptions(**options)), ctypes.byref(handle))
    assert status != ditq.OK and handle.value == 0x5A, "the out parameter was written"
    return status, message


@pytest.mark.parametrize("path", [EMOJI, W8A8, EMOJI.with_name("emoji-w4a8.ditq")], ids=lambda path: path.name)
def test_a_reader_gives_the_model_of_the_file_and_is_not_needed_afterwards(path):
    reader = BytesReader(path.read_bytes())
    with ditq.Model(reader) as model, ditq.Model(path) as other:
        reader.data = b""
        reads = len(reader.reads)
        assert picture(model) == picture(other)
        assert len(reader.reads) == reads, "read after the call had returned"
        assert model.json() == other.json() | {"files": []}, "a reader's bytes have no name"


def test_a_pickle_of_torch_opens_through_a_reader(golden):
    data = torch_io.save(safetensors_io.read(FIXTURES / "official-a/model.safetensors"))
    with ditq.Model(BytesReader(data), head_count=golden("official-a").settings["heads"]) as model:
        assert model.json()["source"] == "torch checkpoint"


def test_the_last_byte_comes_first_and_then_all_in_order():
    data = EMOJI.read_bytes()
    reader = BytesReader(data)
    ditq.Model(reader).close()
    pieces = [(start, min(PIECE, len(data) - start)) for start in range(0, len(data), PIECE)]
    assert len(pieces) > 2 and reader.reads == [(len(data) - 1, 1), *pieces]


def test_bytes_are_held_once_in_memory_of_the_allocator():
    data = EMOJI.read_bytes()
    mapped, copied = ditq.CountingAllocator(), ditq.CountingAllocator()
    with ditq.Model(EMOJI, allocator=ctypes.pointer(mapped.struct)) as one:
        assert mapped.peak == mapped.size
        with ditq.Model(BytesReader(data), allocator=ctypes.pointer(copied.struct)) as two:
            assert copied.peak == mapped.peak + len(data)
            assert picture(one) == picture(two)
    assert not copied.live and not copied.faults


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_a_read_that_fails_is_named_with_its_place_and_leaves_nothing(number):
    data = EMOJI.read_bytes()
    allocator = ditq.CountingAllocator()
    reader = BytesReader(data, fails_at=number)
    status, message = refused(reader, allocator=ctypes.pointer(allocator.struct))
    offset, count = reader.reads[-1]
    assert status == ditq.IO_FAILED and len(reader.reads) == number
    for part in (f"{count} bytes", f"at byte {offset}", "5 found"):
        assert part in message
    assert not allocator.live and not allocator.faults
    assert allocator.calls == (0 if number == 1 else 1)


@pytest.mark.parametrize("size, status, words", [
    (0, ditq.MALFORMED, ["reader->size", "0 found"]),
    (1 << 40, ditq.IO_FAILED, ["1 bytes at byte 1099511627775"]),
    ((1 << 63) + 1, ditq.OUT_OF_MEMORY, ["reader->size", "9223372036854775809"]),
])  # fmt: skip
def test_a_size_that_is_not_there_takes_no_memory(size, status, words):
    allocator = ditq.CountingAllocator()
    found, message = refused(BytesReader(EMOJI.read_bytes(), size=size), allocator=ctypes.pointer(allocator.struct))
    assert found == status and all(word in message for word in words), message
    assert allocator.calls == 0


def test_terabytes_that_are_there_are_refused_by_the_allocator_and_by_the_system():
    """The reader's memory is not there, whatever its size: the status is that of memory, not of reading."""

    class Endless(BytesReader):
        def read(self, context, offset, buffer, count):
            ctypes.memset(buffer, 0, count)
            return 0

    none = ditq.CountingAllocator(limit=0)
    assert refused(Endless(b"", size=1 << 42), allocator=ctypes.pointer(none.struct))[0] == ditq.OUT_OF_MEMORY
    assert refused(Endless(b"", size=1 << 60))[0] == ditq.OUT_OF_MEMORY


@pytest.mark.parametrize("claim", [-1, -1000, 8, 100])
def test_a_size_that_is_less_than_the_file_is_malformed(claim):
    data = EMOJI.read_bytes()
    size = len(data) + claim if claim < 0 else claim
    status, message = refused(BytesReader(data, size=size))
    assert status == ditq.MALFORMED and message.startswith("reader: ")


def test_null_functions_and_wrong_structs_are_refused_and_named():
    reader = BytesReader(b"x" * 100)
    reader.struct.read = ditq.READ()
    assert refused(reader) == (ditq.INVALID_ARGUMENT, "reader->read: NULL found where a pointer is expected")
    reader = BytesReader(b"x" * 100)
    reader.struct.struct_size = 8
    status, message = refused(reader)
    assert status == ditq.INVALID_ARGUMENT and "reader->struct_size: 32 expected, 8 found" in message


def test_a_checksum_is_that_of_all_that_was_read():
    import hashlib

    data = W8A8.read_bytes()
    ditq.Model(BytesReader(data), expected_sha256=hashlib.sha256(data).hexdigest().encode()).close()
    assert refused(BytesReader(data), expected_sha256=b"0" * 64)[0] == ditq.CHECKSUM_MISMATCH


def test_progress_is_told_of_each_piece_and_cancels_at_each():
    data = EMOJI.read_bytes()
    pieces = -(-len(data) // PIECE)
    told = []

    def hook(stop):
        def progress(_, pointer):
            now = (pointer.contents.phase, pointer.contents.done, pointer.contents.total)
            if told[-1:] != [now]:  # again, where a piece takes long
                told.append(now)
            return int(len(told) - 1 == stop)

        return ditq.PROGRESS_CALLBACK(progress)

    ditq.Model(BytesReader(data), progress=hook(None)).close()
    assert told == [(ditq.PHASE_LOAD, done, pieces) for done in range(pieces + 1)]
    for stop in range(pieces + 1):
        told.clear()
        allocator, reader = ditq.CountingAllocator(), BytesReader(data)
        assert refused(reader, progress=hook(stop), allocator=ctypes.pointer(allocator.struct))[0] == ditq.CANCELLED
        assert len(told) == stop + 1 and not allocator.live and not allocator.faults
        assert len(reader.reads) == (0 if stop == 0 else 1 + stop)


def test_a_model_that_was_read_may_be_saved_and_verified(tmp_path):
    with ditq.Model(BytesReader(W8A8.read_bytes())) as model:
        model.verify()
        model.save(tmp_path / "again.ditq")
    assert picture(ditq.Model(tmp_path / "again.ditq")) == picture(ditq.Model(W8A8))


@pytest.mark.isolated
def test_a_file_may_be_truncated_once_it_was_read(tmp_path):
    """What a mapped file does not survive, see SECURITY.md."""
    path = tmp_path / "model.ditq"
    path.write_bytes(W8A8.read_bytes())
    with open(path, "rb") as file:
        model = package.Model(file)
    path.write_bytes(b"")
    with package.Model(W8A8) as other:
        assert model.generate(3, seed=5, steps=2).tobytes() == other.generate(3, seed=5, steps=2).tobytes()


def test_a_file_object_of_python_is_read_and_what_it_raises_is_raised_again():
    class Broken(io.BytesIO):
        def read(self, count=-1):
            raise KeyError("the medium is gone")

    with pytest.raises(KeyError, match="the medium is gone"):
        package.Model(Broken(b"x" * 1000))
    with pytest.raises(package.errors.Malformed):
        package.Model(io.BytesIO(b"x" * 1000))
    model = package.Model(io.BytesIO(W8A8.read_bytes()))
    assert model.info.class_count == 128
