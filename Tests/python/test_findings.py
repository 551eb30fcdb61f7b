"""What fuzzing and sanitizers found once, kept as tests of the library that ships; the inputs themselves are in Tests/fuzz/corpus. SECURITY.md lists them."""
import ctypes
import json
import mmap
import struct
from ctypes import byref

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
from ditq_c import lib, outcome

pytestmark = pytest.mark.isolated

TINY, PIPELINE = ditq.ROOT / "Tests/fuzz/models/float.safetensors", ditq.ROOT / "Tests/fuzz/models/pipeline"


@pytest.mark.parametrize("padding", range(8))
def test_16_bit_weights_may_stand_at_any_address(padding):
    """Their header is as long as it likes: the tensors behind it are at odd addresses then."""
    tensors = safetensors_io.read(TINY)
    text = json.dumps(safetensors_io.header_of(tensors)).encode() + b" " * padding
    data = struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in tensors.values())
    memory = np.frombuffer(data, np.uint8).copy()
    results = []
    for source in (memory, TINY):
        with ditq.Model(source, head_count=2) as model, model.quantize(weight_bits=4) as quantized:
            for each in (model, quantized):
                with each.session(threads=1) as session:
                    results.append(session.denoise([1], [2], steps=2).tobytes())
    assert results[:2] == results[2:]


def test_a_count_beyond_the_labels_is_refused_before_they_are_read_where_there_are_no_pictures():
    """The one label stands at the end of a page; what is behind it may not be touched."""
    pages = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(start + mmap.PAGESIZE), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    label, pixels, seeds = ctypes.c_void_p(start + mmap.PAGESIZE - 4), np.zeros(64, np.uint8), np.zeros(1, np.uint64)
    with ditq.Model(TINY, head_count=2) as model, model.session(threads=1) as session:
        for count in (2, 1 << 20, 1 << 40, 1 << 62):
            status, message = outcome(lib.ditq_generate, session.handle, label, ditq.address(seeds), count, None, ditq.address(pixels), pixels.nbytes)
            assert status == ditq.UNSUPPORTED and "decode" in message


@pytest.mark.parametrize("options", [{}, dict(weight_bits=4, weight_group=16), dict(activation_mode=1, calibration_samples=1, calibration_steps=1)])
def test_a_comparison_of_models_with_few_tokens_is_what_it_is_with_one_image_at_a_time(options):
    """Rows of one vector an image were packed beyond the end of what was reserved for them."""
    reports = []
    with ditq.Model(TINY, head_count=2) as model, model.quantize(**options) as quantized:
        for samples in (1, 7):
            report = ctypes.c_void_p()
            ditq.call(lib.ditq_compare, model.handle, quantized.handle, byref(ditq.CompareOptions(steps=2, samples=samples, threads=1)), byref(report))
            reports.append(json.loads(lib.ditq_report_json(report)))
            lib.ditq_report_destroy(report)
    assert len(reports) == 2 and all(report["layers"] for report in reports)
