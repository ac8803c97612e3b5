"""Data scripts: a value in one function call, as JSON or, where that is shorter, as compressed JSON.

Compressed bytes are written as characters of 15 bits each, in a file of UTF-16, which takes a fifth less space than
base64. A script is read as UTF-16 whatever a server says of it, since it begins with a byte order mark.
"""

from __future__ import annotations

import codecs
import re
import zlib

import numpy as np

# 32,768 characters from here on, all of which may stand in a string, and none of which is a surrogate
FIRST_CHARACTER = 0x3400
BITS = 15
# The level above takes 40 % more time for a hundredth less space
LEVEL = 5

PLAIN = re.compile(rb'sitegen\.data\("([^"]+)",(.*)\);\n', re.DOTALL)
PACKED = re.compile(r'sitegen\.packed\("([^"]+)",(\d+),"([^"]*)"\);\n')


def data_call(loaded_as: str, json: bytes, repeats: bool = True) -> bytes:
    """A script that hands over a value under the name by which pages ask for it.

    repeats  whether parts of the JSON recur in it. In base64 of weights none do, and looking for them takes four times
             as long as all else
    """
    plain = b'sitegen.data("' + loaded_as.encode() + b'",' + json + b");\n"
    strategy = zlib.Z_DEFAULT_STRATEGY if repeats else zlib.Z_HUFFMAN_ONLY
    compressor = zlib.compressobj(LEVEL, strategy=strategy)
    compressed = compressor.compress(json) + compressor.flush()
    head, tail = f'sitegen.packed("{loaded_as}",{len(compressed)},"', '");\n'
    packed = b"".join(
        [
            codecs.BOM_UTF16_LE,
            head.encode("utf-16-le"),
            _characters(compressed),
            tail.encode("utf-16-le"),
        ]
    )
    return min(plain, packed, key=len)


def value_of(script: bytes) -> tuple[str, bytes]:
    """(name, JSON) that a script hands over.

    raises  ValueError if it is not such a script
    """
    plain = PLAIN.fullmatch(script)
    if plain:
        return plain[1].decode(), plain[2]
    packed = PACKED.fullmatch(script.decode("utf-16")) if _is_utf16(script) else None
    if packed is None:
        raise ValueError("not a script that hands over data")
    try:
        return packed[1], zlib.decompress(_bytes(packed[3], int(packed[2])))
    except zlib.error as error:
        raise ValueError(f"damaged data: {error}") from error


def is_equal(script: bytes, other: bytes) -> bool:
    """Whether two scripts hand over the same value; builds of zlib may compress it to different bytes."""
    if script == other:
        return True
    try:
        return value_of(script) == value_of(other)
    except ValueError:
        return False


def _is_utf16(script: bytes) -> bool:
    return script.startswith(codecs.BOM_UTF16_LE) and len(script) % 2 == 0


def _characters(data: bytes) -> bytes:
    """The bytes as characters of UTF-16: eight for 15 bytes."""
    n_characters = -(-8 * len(data) // BITS)
    padded = np.frombuffer(data + bytes(-len(data) % BITS), np.uint8).reshape(-1, BITS)
    groups = padded.astype(np.uint32)
    characters = np.empty((len(groups), 8), "<u2")
    for i in range(8):
        at, offset = divmod(BITS * i, 8)
        # 15 bits lie in at most three bytes; the last character of a group lies in two
        three = groups[:, at] << 16 | groups[:, at + 1] << 8 | groups[:, min(at + 2, BITS - 1)]
        characters[:, i] = (three >> (24 - BITS - offset) & 0x7FFF) + FIRST_CHARACTER
    return characters.reshape(-1)[:n_characters].tobytes()


def _bytes(text: str, n_bytes: int) -> bytes:
    """The first bytes of those that characters stand for."""
    values = np.frombuffer(text.encode("utf-16-le"), "<u2").astype(np.int32) - FIRST_CHARACTER
    bits = values[:, None] >> np.arange(BITS - 1, -1, -1) & 1
    return np.packbits(bits.astype(np.uint8).reshape(-1)).tobytes()[:n_bytes]
