"""The order in which the trainers go through an iteration's completions, as lib/core/random.c has it: Philox 4x32-10
words, Fisher and Yates. A loop of your own may use any order; this one gives the weights of the built-in trainer."""

MASK32, MASK64 = 2**32 - 1, 2**64 - 1
MINIBATCH = 100  # what the random numbers are for


def philox(counter, key):
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & MASK32, (a >> 32) ^ c3 ^ k1, a & MASK32
        k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
    return c0, c1, c2, c3


def words(seed, stream):
    block = 0
    while True:
        counter = (block & MASK32, block >> 32, stream & MASK32, MINIBATCH)
        bits = philox(counter, (seed & MASK32, seed >> 32))
        yield bits[0] | bits[1] << 32
        yield bits[2] | bits[3] << 32
        block += 1


def order(seed, stream, count):
    """A permutation of range(count). stream: iteration * epochs + epoch."""
    rows, source = list(range(count)), words(seed, stream)
    for bound in range(count, 1, -1):
        product = next(source) * bound
        while product & MASK64 < (2**64 - bound) % bound:
            product = next(source) * bound
        other = product >> 64
        rows[bound - 1], rows[other] = rows[other], rows[bound - 1]
    return rows
