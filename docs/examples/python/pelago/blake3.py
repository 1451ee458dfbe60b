"""blake3 for inputs of any length, plain and slow: for the hash chain and for content (sections 6 and 7)."""

import struct

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
CHUNK_BYTES, BLOCK_BYTES, MASK = 1024, 64, 2**32 - 1


def blake3(data: bytes) -> bytes:
    """The 32 bytes of the hash."""
    return struct.pack("<8I", *_tree(data, 0, ROOT))


def _tree(data: bytes, first_chunk: int, flags: int) -> tuple[int, ...]:
    if len(data) <= CHUNK_BYTES:
        return _chunk(data, first_chunk, flags)
    # The left side is the largest power of two of chunks that leaves something for the right one.
    chunks = (len(data) - 1) // CHUNK_BYTES
    left = 1 << (chunks.bit_length() - 1)
    halves = _tree(data[: left * CHUNK_BYTES], first_chunk, 0) + _tree(
        data[left * CHUNK_BYTES :], first_chunk + left, 0
    )
    return _compress(IV, halves, 0, BLOCK_BYTES, PARENT | flags)


def _chunk(data: bytes, number: int, flags: int) -> tuple[int, ...]:
    blocks = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)] or [b""]
    chaining = IV
    for index, block in enumerate(blocks):
        first = CHUNK_START if index == 0 else 0
        last = CHUNK_END | flags if index == len(blocks) - 1 else 0
        words = struct.unpack("<16I", block.ljust(BLOCK_BYTES, b"\0"))
        chaining = _compress(chaining, words, number, len(block), first | last)
    return chaining


def _compress(chaining, words, counter: int, length: int, flags: int) -> tuple[int, ...]:
    state = [*chaining, *IV[:4], counter & MASK, counter >> 32, length, flags]
    for _ in range(7):
        for a, b, c, d, m in (
            (0, 4, 8, 12, 0), (1, 5, 9, 13, 2), (2, 6, 10, 14, 4), (3, 7, 11, 15, 6),
            (0, 5, 10, 15, 8), (1, 6, 11, 12, 10), (2, 7, 8, 13, 12), (3, 4, 9, 14, 14),
        ):  # fmt: skip
            _mix(state, a, b, c, d, words[m], words[m + 1])
        words = tuple(words[at] for at in PERMUTATION)
    return tuple(state[at] ^ state[at + 8] for at in range(8))


def _mix(state: list[int], a: int, b: int, c: int, d: int, x: int, y: int):
    for message, right, left in ((x, 16, 12), (y, 8, 7)):
        state[a] = (state[a] + state[b] + message) & MASK
        state[d] = _rotate(state[d] ^ state[a], right)
        state[c] = (state[c] + state[d]) & MASK
        state[b] = _rotate(state[b] ^ state[c], left)


def _rotate(word: int, by: int) -> int:
    return (word >> by | word << (32 - by)) & MASK
