"""Label Studio's code of a brush, decoded by its description, one bit after the other."""


def unpacked(numbers):
    """Return the words of thi.ng/rle-pack's code, one bit after the other."""
    bits = "".join(f"{number:08b}" for number in numbers)
    place = 0

    def take(count):
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    total, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    words = []
    while len(words) < total:
        is_run, size = take(1), sizes[take(2)]
        count = take(size) + 1
        words += [take(word)] * count if is_run else [take(word) for _ in range(count)]
    assert len(words) == total
    assert len(bits) - place < 8
    return words
