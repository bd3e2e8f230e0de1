/* SHA-256 (FIPS 180-4), for receipts and recorded results. */
#include "core/internal.h"

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, int bits)
{
    return x >> bits | x << (32 - bits);
}

/* One round. In the next one each letter stands for its neighbour, so the rounds below pass them in turn and nothing is
 * moved. */
static inline void mix(uint32_t a, uint32_t b, uint32_t c, uint32_t *d, uint32_t e, uint32_t f, uint32_t g, uint32_t *h,
                       uint32_t word)
{
    uint32_t sum = *h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (g ^ (e & (f ^ g))) + word;

    *d += sum;
    *h = sum + (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) | (c & (a | b)));
}

static void mix_block(uint32_t state[8], const uint8_t block[64])
{
    uint32_t w[64], a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    const uint32_t *k = round_constants;

    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
               block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + w[i - 7];
        w[i] += rotate(y, 17) ^ rotate(y, 19) ^ y >> 10;
    }
    for (int i = 0; i < 64; i += 8) {
        mix(a, b, c, &d, e, f, g, &h, w[i] + k[i]);
        mix(h, a, b, &c, d, e, f, &g, w[i + 1] + k[i + 1]);
        mix(g, h, a, &b, c, d, e, &f, w[i + 2] + k[i + 2]);
        mix(f, g, h, &a, b, c, d, &e, w[i + 3] + k[i + 3]);
        mix(e, f, g, &h, a, b, c, &d, w[i + 4] + k[i + 4]);
        mix(d, e, f, &g, h, a, b, &c, w[i + 5] + k[i + 5]);
        mix(c, d, e, &f, g, h, a, &b, w[i + 6] + k[i + 6]);
        mix(b, c, d, &e, f, g, h, &a, w[i + 7] + k[i + 7]);
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

static void mix_blocks(rlhfi_sha256 *hash, const uint8_t *next, size_t blocks)
{
    if (hash->instructions) {
        rlhfi_sha256_instructions(hash->state, next, blocks, round_constants);
        return;
    }
    for (; blocks > 0; blocks--, next += 64)
        mix_block(hash->state, next);
}

void rlhfi_sha256_init(rlhfi_sha256 *hash)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

    memcpy(hash->state, start, sizeof start);
    hash->bytes = 0;
    hash->instructions = rlhfi_sha256_has_instructions();
}

void rlhfi_sha256_add(rlhfi_sha256 *hash, const void *bytes, size_t count)
{
    const uint8_t *next = bytes;
    size_t waiting = (size_t)(hash->bytes % 64);

    hash->bytes += count;
    if (waiting > 0 && count > 0) {
        size_t taken = count < 64 - waiting ? count : 64 - waiting;
        memcpy(hash->block + waiting, next, taken);
        next += taken;
        count -= taken;
        if (waiting + taken < 64)
            return;
        mix_blocks(hash, hash->block, 1);
    }
    mix_blocks(hash, next, count / 64);
    if (count % 64 > 0)
        memcpy(hash->block, next + count / 64 * 64, count % 64);
}

void rlhfi_sha256_hex(rlhfi_sha256 *hash, char out[65])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t bits = hash->bytes * 8;
    uint8_t tail[72] = {0x80};
    size_t padding = 64 - (size_t)((hash->bytes + 8) % 64); /* up to the last 8 bytes of a block, at least 1 */

    for (int i = 0; i < 8; i++)
        tail[padding + (size_t)i] = (uint8_t)(bits >> (56 - 8 * i));
    rlhfi_sha256_add(hash, tail, padding + 8);
    for (int i = 0; i < 64; i++)
        out[i] = digits[hash->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    out[64] = '\0';
}
