"""What hostile input costs: time in proportion to its bytes, and no process where memory is short. The shapes are those of Tests/tools/hostile.py."""
import sys

import ditq_c as ditq
import pytest

sys.path.insert(0, str(ditq.ROOT / "Tests/tools"))
import hostile  # noqa: E402


@pytest.mark.parametrize("shape", hostile.SHAPES)
def test_time_grows_as_the_bytes_do(shape):
    def seconds(size):  # of the CPU; the least of some, as others use its caches
        return min(hostile.measured(shape, size)["seconds"] for _ in range(3))

    # Four times the bytes: what grows by squares takes sixteen times as long.
    assert seconds(1 << 20) < 8 * seconds(1 << 18) + 0.02


@pytest.mark.parametrize("room", [10, 20, 40])
@pytest.mark.parametrize("shape", hostile.SHAPES)
def test_a_header_of_two_megabytes_with_little_address_space_left_is_a_status(shape, room):
    found = hostile.measured(shape, 1 << 21, room << 20)
    allowed = (ditq.OUT_OF_MEMORY, ditq.MALFORMED, ditq.OK, ditq.NOT_FOUND, ditq.UNSUPPORTED)
    assert found["status"] in allowed, found["message"]
