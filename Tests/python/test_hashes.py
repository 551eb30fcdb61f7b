"""Everything that the library makes has the bytes of Tests/hashes.txt, which were made once: see Tests/hashes.py."""
import sys

import ditq_c as ditq
import pytest

sys.path.insert(0, str(ditq.ROOT / "Tests"))
import hashes  # noqa: E402

EXPECTED = hashes.read(ditq.ROOT / "Tests/hashes.txt")


@pytest.fixture(scope="module")
def sets():
    with hashes.opened(*hashes.MODELS["diffusers-b"]) as model:
        return hashes.instruction_sets(model)


def expected_of(name):
    return {key: value for key, value in EXPECTED.items() if key.split(" | ")[0].split(", ")[0] == name}


@pytest.mark.parametrize("name", hashes.MODELS)
def test_what_a_model_makes_has_the_bytes_of_the_list(name, sets):
    lines = hashes.Hashes()
    hashes.add_model(lines, name, *hashes.MODELS[name], sets, hashes.PARTS)
    assert len(lines) > 30 and not hashes.differences(lines, expected_of(name))


def test_products_by_themselves_have_the_bytes_of_the_list(sets):
    lines = hashes.Hashes()
    hashes.add_linears(lines, sets)
    assert len(lines) == len(hashes.LINEARS) and not hashes.differences(lines, expected_of("linear"))


def test_a_difference_is_found_and_named():
    """The list would be worth nothing if what differs were passed over."""
    lines, expected = {"a": "1", "b": "2", "c": "DIFFERS 1: x; 2: y"}, {"a": "1", "b": "3", "d": "4"}
    assert hashes.differences(lines, expected) == ["b: 3 expected, 2 found", "d: missing", "c: new"]


def test_ways_that_differ_stand_in_their_line():
    lines = hashes.Hashes()
    lines.add_same("key", {"one": 1, "another": 1, "third": 2}, str)
    assert lines == {"key": "DIFFERS 1: one, another; 2: third"}
