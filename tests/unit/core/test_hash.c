#include "helper.h"

static void check(const char *text, size_t repeat, const char *expected)
{
    for (int plain = 0; plain < 2; plain++) {
        rlhfi_sha256 hash;
        char hex[65];
        rlhfi_sha256_init(&hash);
        hash.instructions = hash.instructions && plain == 0;
        for (size_t i = 0; i < repeat; i++)
            rlhfi_sha256_add(&hash, text, strlen(text));
        rlhfi_sha256_hex(&hash, hex);
        assert_string_equal(hex, expected);
    }
}

/* The examples of FIPS 180-4 and of NIST's test vectors. */
static void published_vectors(void **state)
{
    check("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    check("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
          "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
          1, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    check("aaaaaaaaaa", 100000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* However a message is cut, and however long it is, the hash is that of the message; lengths around a block matter. */
static void pieces_do_not_matter(void **state)
{
    unsigned char message[300];
    char whole[65], pieces[65], previous[65] = "";

    for (size_t i = 0; i < sizeof message; i++)
        message[i] = (unsigned char)(i * 7 + 3);
    for (size_t length = 0; length <= sizeof message; length++) {
        rlhfi_sha256 hash;
        rlhfi_sha256_init(&hash);
        rlhfi_sha256_add(&hash, message, length);
        rlhfi_sha256_hex(&hash, whole);
        assert_string_not_equal(whole, previous);
        memcpy(previous, whole, sizeof whole);
        for (size_t step = 1; step < 130; step += 9) {
            rlhfi_sha256_init(&hash);
            for (size_t i = 0; i < length; i += step)
                rlhfi_sha256_add(&hash, message + i, length - i < step ? length - i : step);
            rlhfi_sha256_add(&hash, NULL, 0);
            rlhfi_sha256_hex(&hash, pieces);
            assert_string_equal(pieces, whole);
        }
        rlhfi_sha256_init(&hash);
        hash.instructions = false; /* plain C says the same as the processor */
        rlhfi_sha256_add(&hash, message, length);
        rlhfi_sha256_hex(&hash, pieces);
        assert_string_equal(pieces, whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(pieces_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
