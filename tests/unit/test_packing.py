"""Data scripts: what they hand over, and that the same value always gives the same bytes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from sitegen.render.packing import data_call, is_equal, value_of

LONG = json.dumps({"text": ["</script>", '"', "\\", "\u2028", "\x00", "ﬀ😀"] * 50}).encode()


def test_a_script_hands_over_the_json_that_it_was_made_from() -> None:
    for value in (b"null", b'{"a":[1,2.5,null]}', LONG):
        assert value_of(data_call("words/7", value)) == ("words/7", value)


def test_bytes_of_every_length_come_back() -> None:
    """Fifteen bytes are eight characters, so every remainder of the length is tried."""
    source = random.Random(7)
    for n in range(400, 440):
        value = json.dumps("".join(source.choices("ab", k=n))).encode()
        script = data_call("x", value)
        assert script.startswith(b"\xff\xfe")
        assert value_of(script) == ("x", value)


def test_a_script_is_compressed_only_where_that_is_shorter() -> None:
    assert data_call("terms", b"null") == b'sitegen.data("terms",null);\n'
    assert len(data_call("terms", LONG)) < len(LONG) / 2


def test_the_same_value_gives_the_same_bytes() -> None:
    assert data_call("terms", LONG) == data_call("terms", bytes(LONG))


def test_scripts_are_equal_if_they_hand_over_the_same_value() -> None:
    script = data_call("terms", LONG)
    plain = b'sitegen.data("terms",' + LONG + b");\n"
    assert is_equal(script, plain)
    assert not is_equal(script, data_call("lines", LONG))
    assert not is_equal(script, data_call("terms", b"null"))


@pytest.mark.parametrize("damaged", [b"", b"sitegen.data()", b"\xff\xfe", b"\xff\xfe\x00"])
def test_a_script_that_hands_over_nothing_is_refused(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="hands over"):
        value_of(damaged)


def test_a_damaged_script_equals_no_other() -> None:
    script = data_call("terms", LONG)
    at = len(script) // 2
    damaged = script[:at] + bytes([script[at] ^ 1]) + script[at + 1 :]
    assert not is_equal(damaged, script)


def test_all_data_scripts_of_a_site_can_be_read_back(tiny_output: Path) -> None:
    site = tiny_output / "site"
    scripts = [path for path in (site / "load").rglob("*.js") if path.stem != "library"]
    for path in scripts:
        name, value = value_of(path.read_bytes())
        assert path == site / f"load/{name}.js"
        json.loads(value)
    assert len(scripts) > 256
