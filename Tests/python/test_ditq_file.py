"""The .ditq file: what is saved is what is opened, any safetensors reader lists it, and no bytes in it take the process down."""
import json
import os
import struct

import numpy as np
import pytest

import ditq_c as ditq
import safetensors_io
from ditq_c import DitqFailure

TINY = ditq.ROOT / "Tests/fuzz/models/float.safetensors"
SMALL = dict(calibration_samples=2, calibration_steps=3, calibration_total_steps=5)  # what is calibrated need not be good
SCHEMES = {
    "W8": dict(weight_bits=8), "W4": dict(weight_bits=4, **SMALL), "W4 row": dict(weight_bits=4, weight_group=0, weight_method=1), "W4 remainder": dict(weight_bits=4, weight_group=48, **SMALL),
    "static": dict(weight_bits=8, activation_mode=1, **SMALL),
    "per step, balanced": dict(weight_bits=4, weight_group=32, activation_mode=2, balance_channels=1, **SMALL),
    "every layer": dict(weight_bits=8, rules=[dict(pattern=b"*", weight_bits=8), dict(pattern=b"x_embedder.proj", weight_bits=4, weight_group=16)], **SMALL),
    "most in 8 bits": dict(weight_bits=4, rules=[dict(pattern=b"blocks.*", weight_bits=8, weight_group=0)], **SMALL),
    "in float": dict(weight_bits=8, rules=[dict(pattern=b"*", weight_bits=32)]),
    "balanced, adaLN and qkv float": dict(weight_bits=8, balance_channels=1, rules=[dict(pattern=b"*.adaLN_modulation.1", weight_bits=32), dict(pattern=b"*.qkv", weight_bits=32)], **SMALL),
}


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """saved(fixture, scheme): the path of a .ditq file, and of the quantized model the latents of one run; `described` keeps what it says of itself."""
    made, described = {}, {}

    def file(name, scheme="W4"):
        if (name, scheme) not in made:
            path = tmp_path_factory.mktemp("ditq") / f"{name}.ditq"
            with model(name).quantize(**SCHEMES[scheme]) as quantized, quantized.session() as session:
                quantized.save(path)
                described[path] = quantized.json()["calibration"], bytes(quantized.info)
                made[name, scheme] = path, session.denoise([3], [7], steps=2)
        return made[name, scheme]

    file.described = described
    return file


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["emoji", "official-a", "diffusers-b", "diffusers-own"])
def test_an_opened_file_gives_the_bytes_of_the_model_that_was_saved(name, scheme, saved, model):
    path, expected = saved(name, scheme)
    with ditq.Model(path) as opened, opened.session() as session:
        assert np.array_equal(session.denoise([3], [7], steps=2), expected)
        opened.verify()
        source = model(name)
        assert opened.image_shape == source.image_shape and opened.class_name(3) == source.class_name(3)
        assert (opened.json()["calibration"], bytes(opened.info)) == saved.described[path]
        assert opened.info.weight_bits == {"most in 8 bits": 8, "in float": 32}.get(scheme, SCHEMES[scheme]["weight_bits"]) and opened.info.has_decoder == source.info.has_decoder
        if source.info.has_decoder:
            latents = np.ones((1, *source.latent_shape), np.float32)
            with source.session() as float_session:
                assert np.array_equal(session.decode(latents), float_session.decode(latents))


def test_a_file_opens_from_memory_at_any_alignment(saved):
    path, expected = saved("emoji")
    content = np.frombuffer(path.read_bytes(), np.uint8)
    for offset in (0, 1, 7, 32):
        memory = np.zeros(content.size + 128, np.uint8)
        start = -memory.ctypes.data % 64 + offset
        memory[start : start + content.size] = content
        with ditq.Model(memory[start : start + content.size]) as opened, opened.session() as session:
            assert np.array_equal(session.denoise([3], [7], steps=2), expected)


def test_any_reader_lists_the_checkpoints_names_and_packed_tensors_are_aligned(saved):
    path, _ = saved("emoji")
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    start = 8 + struct.unpack("<Q", data[:8])[0]
    names = set(header) - {"__metadata__"}
    assert {"blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.bias", "pos_embed", "y_embedder.embedding_table.weight"} <= names
    assert header["__metadata__"]["ditq.format"] == "1" and start % 64 == 0
    for name in names:
        if name.endswith((".scales", ".sums")) or name + ".scales" in names:
            assert (start + header[name]["data_offsets"][0]) % 64 == 0, name
    assert set(safetensors_io.read(path)) == names


def test_verify_finds_any_flipped_byte_of_the_data(saved, tmp_path):
    path, _ = saved("official-a")
    data = bytearray(path.read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    random = np.random.default_rng(5)
    for position in [start, len(data) - 1, *random.integers(start, len(data), 60)]:
        data[position] ^= 0x10
        try:
            with ditq.Model(bytes(data)) as opened, pytest.raises(DitqFailure) as failure:
                opened.verify()
            assert failure.value.status == ditq.CHECKSUM_MISMATCH
        except DitqFailure as refused:  # a scale that is no number any more is refused at once
            assert refused.status == ditq.MALFORMED
        data[position] ^= 0x10


@pytest.mark.isolated
def test_verify_finds_a_flipped_bit_in_any_byte_of_a_small_file(tmp_path):
    """Header and all: what the metadata says (names of classes, betas) has a checksum too."""
    path = tmp_path / "tiny.ditq"
    with ditq.Model(TINY, head_count=2) as model, model.quantize() as quantized:
        quantized.save(path)
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    with ditq.Model(data) as opened:
        opened.verify()
    unnoticed = []
    for position in range(data.size):
        data[position] ^= 1 << position % 8
        try:
            with ditq.Model(data) as opened:
                opened.verify()
            unnoticed.append(position)
        except DitqFailure:
            pass
        data[position] ^= 1 << position % 8
    assert data.size > 10000 and not unnoticed


def test_files_from_before_the_metadata_had_a_checksum_are_verified_as_before(saved):
    path, _ = saved("official-a")

    def older(header):
        checksums = json.loads(header["__metadata__"]["ditq.checksums"])
        del checksums["__metadata__"]
        header["__metadata__"]["ditq.checksums"] = json.dumps(checksums)

    with ditq.Model(rewritten(path, older)) as opened:
        opened.verify()

    def damaged(header):
        older(header)
        header["__metadata__"]["ditq.checksums"] = header["__metadata__"]["ditq.checksums"].replace("pos_embed", "pos_embee")

    with ditq.Model(rewritten(path, damaged)) as opened, pytest.raises(DitqFailure) as failure:
        opened.verify()
    assert failure.value.status == ditq.CHECKSUM_MISMATCH and "pos_embed" in failure.value.message


def test_a_packed_decoder_is_saved_again_as_it_was(model, tmp_path):
    first, second = tmp_path / "first.ditq", tmp_path / "second.ditq"
    with model("diffusers-b").quantize(rules=[dict(pattern=b"vae.*", weight_bits=8)]) as quantized:
        quantized.save(first)
    with ditq.Model(first) as opened:
        opened.save(second)
    assert first.read_bytes() == second.read_bytes()
    with ditq.Model(second) as again:
        again.verify()


def test_a_float_model_is_neither_saved_nor_verified(model, tmp_path):
    for call in (lambda: model("emoji").save(tmp_path / "x.ditq"), lambda: model("emoji").verify()):
        with pytest.raises(DitqFailure) as failure:
            call()
        assert failure.value.status == ditq.UNSUPPORTED
    assert not list(tmp_path.iterdir())


def rewritten(path, change):
    """The file's bytes with its header changed by `change`."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def metadata(key, value):
    return lambda header: header["__metadata__"].update({key: value})


def layers(change):
    def changed(header):
        record = json.loads(header["__metadata__"]["ditq.layers"])
        change(record)
        header["__metadata__"]["ditq.layers"] = json.dumps(record)

    return changed


QKV = "blocks.0.attn.qkv"


@pytest.mark.parametrize("change, status, parts", [
    (metadata("ditq.format", "2"), ditq.UNSUPPORTED, ["ditq.format", "2", "newer"]),
    (metadata("ditq.format", "x"), ditq.MALFORMED, ["ditq.format", "x"]),
    (metadata("ditq.packing", "panels-64"), ditq.UNSUPPORTED, ["panels-32", "panels-64"]),
    (metadata("ditq.layers", "[]"), ditq.MALFORMED, ["ditq.layers"]),
    (metadata("ditq.layers", "{}"), ditq.UNSUPPORTED, ["blocks.0.adaLN_modulation.1", "U8"]),
    (layers(lambda record: record.pop(QKV)), ditq.UNSUPPORTED, [QKV]),
    (layers(lambda record: record[QKV].update(bits=5)), ditq.UNSUPPORTED, [QKV, "5"]),
    (layers(lambda record: record[QKV].update(bits=8)), ditq.MALFORMED, [QKV]),
    (layers(lambda record: record[QKV].update(group=7)), ditq.UNSUPPORTED, [QKV, "7"]),
    (layers(lambda record: record[QKV].update(group=64)), ditq.MALFORMED, [QKV, "scales"]),
    (layers(lambda record: record[QKV].update(group=-64)), ditq.MALFORMED, [QKV, "group"]),
    (layers(lambda record: record[QKV].update(activation_bits=16)), ditq.UNSUPPORTED, [QKV, "16"]),
    (layers(lambda record: record[QKV].update(bits=1e300)), ditq.MALFORMED, [QKV, "bits"]),
    (layers(lambda record: record.update({QKV: 3})), ditq.MALFORMED, [QKV]),
    (lambda header: header.update({"blocks.0.attn.qkv.weight.extra": header.pop("blocks.0.attn.qkv.weight.sums")}), ditq.NOT_FOUND, ["sums"]),
    (lambda header: header["blocks.0.attn.qkv.weight.scales"].update(dtype="I32"), ditq.MALFORMED, ["scales", "F32", "I32"]),
])
def test_what_a_header_may_not_say_is_refused_and_named(change, status, parts, saved):
    path, _ = saved("emoji")
    with pytest.raises(DitqFailure) as failure:
        ditq.Model(rewritten(path, change))
    assert failure.value.status == status and all(part in failure.value.message for part in parts), failure.value.message


def assert_refused_with(path, tensor, element, value, form="<f"):
    """The file with another number in a tensor, by default a float."""
    data = bytearray(path.read_bytes())
    length, number = struct.unpack("<Q", data[:8])[0], struct.pack(form, value)
    position = 8 + length + json.loads(data[8 : 8 + length])[tensor]["data_offsets"][0] + len(number) * element
    data[position : position + len(number)] = number
    with pytest.raises(DitqFailure) as failure:
        ditq.Model(bytes(data))
    assert failure.value.status == ditq.MALFORMED and tensor in failure.value.message, failure.value.message


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("tensor", ["blocks.0.attn.qkv.weight.scales", "blocks.0.attn.qkv.weight.sums"])
def test_scales_that_are_no_numbers_are_refused(tensor, value, saved):
    path, _ = saved("emoji")
    assert_refused_with(path, tensor, 2, value)


@pytest.mark.parametrize("value", [16, 128, 255])
def test_zero_points_that_no_4_bit_weight_has_are_refused(value, saved):
    path, _ = saved("emoji")
    assert_refused_with(path, "blocks.0.attn.qkv.weight.zeros", 70, value, "B")


def calibration(change):
    def changed(header):
        record = json.loads(header["__metadata__"]["ditq.calibration"])
        change(record)
        header["__metadata__"]["ditq.calibration"] = json.dumps(record)

    return changed


RANGES, FACTORS = f"{QKV}.input_ranges", "blocks.0.mlp.fc2.input_factors"


@pytest.mark.parametrize("change, status, parts", [
    (metadata("ditq.calibration", "x"), ditq.MALFORMED, ["ditq.calibration"]),
    (metadata("ditq.calibration", '{"samples": NaN}'), ditq.MALFORMED, ["ditq.calibration", "finite"]),
    (metadata("ditq.calibration", "[1]"), ditq.MALFORMED, ["ditq.calibration"]),
    (calibration(lambda record: record.update(bins=[])), ditq.MALFORMED, ["ditq.calibration", "bins", "1 to 1000"]),
    (calibration(lambda record: record.update(bins=7)), ditq.MALFORMED, ["bins", "1 to 1000", "7"]),
    (calibration(lambda record: record.update(bins="all")), ditq.MALFORMED, ["bins", "1 to 1000"]),
    (calibration(lambda record: record.update(bins=[3, "x", 5])), ditq.MALFORMED, ["bins", "1 to 1000"]),
    (calibration(lambda record: record.update(bins=[3, 1e300, 5])), ditq.MALFORMED, ["bins", "1 to 1000"]),
    (calibration(lambda record: record.update(bins=list(range(1001)))), ditq.MALFORMED, ["bins", "1 to 1000"]),
    (calibration(lambda record: record.update(bins=[0, 500])), ditq.MALFORMED, ["input_ranges", "[2, 2]", "[3, 2]"]),
    (calibration(lambda record: record.pop("bins")), ditq.MALFORMED, ["input_ranges", "[1, 2]", "[3, 2]"]),
    (lambda header: header[RANGES].update(shape=[2, 3]), ditq.MALFORMED, [RANGES, "[3, 2]", "[2, 3]"]),
    (lambda header: header[RANGES].update(dtype="I32"), ditq.UNSUPPORTED, [RANGES, "I32"]),
    (lambda header: header[FACTORS].update(shape=[2, 512]), ditq.MALFORMED, [FACTORS, "[1024]", "[2, 512]"]),
    (lambda header: header.update({"final_layer.input_ranges": header.pop(RANGES)}), ditq.UNSUPPORTED, ["final_layer.input_ranges"]),
])
def test_what_calibration_may_not_say_is_refused_and_named(change, status, parts, saved):
    path, _ = saved("emoji", "per step, balanced")
    with pytest.raises(DitqFailure) as failure:
        ditq.Model(rewritten(path, change))
    assert failure.value.status == status and all(part in failure.value.message for part in parts), failure.value.message


@pytest.mark.parametrize("tensor, element, value", [
    *((RANGES, 0, value) for value in (np.nan, np.inf, -0.5)), *((RANGES, 5, value) for value in (np.nan, -1, 256, 3.5)),
    *((FACTORS, 1023, value) for value in (np.nan, -np.inf)),
])
def test_ranges_and_factors_that_cannot_be_are_refused(tensor, element, value, saved):
    path, _ = saved("emoji", "per step, balanced")
    assert_refused_with(path, tensor, element, value)


@pytest.mark.isolated
@pytest.mark.parametrize("scheme", ["W4", "per step, balanced"])
def test_cut_and_flipped_files_answer_with_a_status(scheme, saved):
    path, _ = saved("official-a", scheme)
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    for size in range(0, data.size, 97):
        with pytest.raises(DitqFailure):
            ditq.Model(data[:size] if size else np.zeros(0, np.uint8))
    header = 8 + struct.unpack("<Q", data[:8].tobytes())[0]
    random = np.random.default_rng(9)
    for position in [*random.integers(0, header, 400), *random.integers(header, data.size, 200)]:
        before = data[position]
        data[position] ^= random.integers(1, 256)
        try:
            with ditq.Model(data) as opened, opened.session() as session:
                session.predict(np.ones((1, *opened.latent_shape), np.float32), np.array([500], np.float32), [1])
        except DitqFailure:
            pass
        data[position] = before


def test_a_full_disk_leaves_nothing_under_the_final_name(saved, model, tmp_path):
    with model("emoji").quantize() as quantized:
        with pytest.raises(DitqFailure) as failure:
            quantized.save("/dev/full")
        assert failure.value.status == ditq.IO_FAILED
        with pytest.raises(DitqFailure) as failure:
            quantized.save(tmp_path / "missing" / "x.ditq")
        assert failure.value.status == ditq.NOT_FOUND
        target = tmp_path / "x.ditq"
        target.write_bytes(b"before")
        quantized.save(target)
        assert [item.name for item in tmp_path.iterdir()] == ["x.ditq"] and os.path.getsize(target) > 1000
