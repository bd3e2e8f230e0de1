/* Runs a fuzz target without a fuzzer: over every file of its corpus, and over mutations that are the same every time.
 *
 *   fuzz_NAME [-n MUTATIONS] [-s SEED] [-k FILE] PATH...
 *
 * PATH is a file or a folder of files; -n mutations are made of each (default 0); -k keeps the input that is being
 * tried in FILE, so that it is there after a crash. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LARGEST = 1 << 20, MOST_SEEDS = 4096 };

struct input {
    uint8_t *bytes;
    size_t size;
};

static struct input seeds[MOST_SEEDS];
static size_t seed_count;
static const char *keep;
static uint64_t state; /* xorshift64* */

static uint64_t draw(uint64_t below)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return ((state * 0x2545f4914f6cdd1d) >> 16) % below;
}

static void die(const char *path, const char *what)
{
    fprintf(stderr, "%s: %s\n", path, what);
    exit(2);
}

static void add_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct input *seed = &seeds[seed_count];

    if (file == NULL || seed_count == MOST_SEEDS)
        die(path, file == NULL ? "cannot be opened" : "too many files");
    seed->bytes = malloc(LARGEST);
    if (seed->bytes == NULL)
        die(path, "out of memory");
    seed->size = fread(seed->bytes, 1, LARGEST, file);
    fclose(file);
    seed_count++;
}

static void add_path(const char *path)
{
    struct dirent **entries;
    struct stat information;
    char inner[4096];
    int count;

    if (stat(path, &information) != 0)
        die(path, "is not there");
    if (!S_ISDIR(information.st_mode)) {
        add_file(path);
        return;
    }
    count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        die(path, "cannot be listed");
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            snprintf(inner, sizeof inner, "%s/%s", path, entries[i]->d_name);
            add_path(inner);
        }
        free(entries[i]);
    }
    free(entries);
}

/* Copied to a block of just its size, so that a sanitizer sees a read behind the end. */
static void run(const uint8_t *bytes, size_t size)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);

    if (exact == NULL)
        die("input", "out of memory");
    if (size > 0)
        memcpy(exact, bytes, size);
    if (keep != NULL) {
        FILE *file = fopen(keep, "wb");
        if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
            die(keep, "cannot be written");
    }
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

/* ---- mutations --------------------------------------------------------------------------------------------------- */

/* Replaces cut bytes at a place by others; never beyond LARGEST. */
static void splice(struct input *input, size_t at, size_t cut, const uint8_t *bytes, size_t count)
{
    if (input->size - cut + count > LARGEST)
        return;
    memmove(input->bytes + at + count, input->bytes + at + cut, input->size - at - cut);
    if (count > 0)
        memcpy(input->bytes + at, bytes, count);
    input->size += count;
    input->size -= cut;
}

static void mutate(struct input *input)
{
    static const char *const pieces[] = {
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "\\u0000",
        "\\ud800",
        "\\udc00",
        "NaN",
        "-Infinity",
        "null",
        "true",
        "0",
        "-1",
        "1e999",
        "1.0",
        "18446744073709551616",
        "9223372036854775808",
        "2147483648",
        "[]",
        "{}",
        "\xff",
        "\xc3\xa9",
        "\n",
        " ",
        "- ",
        ": ",
        "&a ",
        "*a",
        "!!x ",
        "#",
        "|\n",
        "\\",
        "..",
        "/",
    };
    static const uint64_t words[] = {0, 1, 7, 8, 255, 65535, 100000000, 100000001, UINT64_C(1) << 31, UINT64_C(1) << 32,
                                     UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 7};
    size_t at = (size_t)draw(input->size + 1), rest = input->size - at, length = (size_t)draw(16);
    const struct input *other;
    const char *piece;
    uint8_t block[64];

    length = length < rest ? length : rest;
    switch (draw(9)) {
    case 0: /* another bit */
        if (rest > 0)
            input->bytes[at] ^= (uint8_t)(1 << draw(8));
        break;
    case 1: /* another byte */
        if (rest > 0)
            input->bytes[at] = (uint8_t)draw(256);
        break;
    case 2:
        splice(input, at, length, NULL, 0);
        break;
    case 3: /* cut */
        input->size = at;
        break;
    case 4: /* once more */
        memcpy(block, input->bytes + at, length);
        splice(input, (size_t)draw(input->size + 1), 0, block, length);
        break;
    case 5: /* something that means something */
    case 6:
        piece = pieces[draw(sizeof pieces / sizeof pieces[0])];
        splice(input, at, draw(2) == 0 ? length : 0, (const uint8_t *)piece, strlen(piece));
        break;
    case 7: /* a number of eight bytes, mostly at the beginning */
        if (draw(2) == 0)
            at = 0;
        if (input->size - at >= 8)
            memcpy(input->bytes + at, &words[draw(sizeof words / sizeof words[0])], 8);
        break;
    default: /* the end of another input */
        other = &seeds[draw(seed_count)];
        length = (size_t)draw(other->size + 1);
        splice(input, at, rest, other->bytes + length, other->size - length);
    }
}

int main(int count, char **arguments)
{
    struct input input = {.bytes = malloc(LARGEST)};
    unsigned long mutations = 0, tried = 0;
    uint64_t start = 1;
    int next = 1;

    if (input.bytes == NULL)
        die("input", "out of memory");
    for (; next + 1 < count && arguments[next][0] == '-'; next += 2) {
        if (strcmp(arguments[next], "-n") == 0)
            mutations = strtoul(arguments[next + 1], NULL, 10);
        else if (strcmp(arguments[next], "-s") == 0)
            start = strtoull(arguments[next + 1], NULL, 10);
        else if (strcmp(arguments[next], "-k") == 0)
            keep = arguments[next + 1];
        else
            die(arguments[next], "unknown option");
    }
    for (; next < count; next++)
        add_path(arguments[next]);
    if (seed_count == 0)
        die(arguments[0], "no inputs");
    for (size_t i = 0; i < seed_count; i++, tried++)
        run(seeds[i].bytes, seeds[i].size);
    for (size_t i = 0; i < seed_count; i++) {
        state = (start * 1000003 + i) * 0x9e3779b97f4a7c15 + 1;
        for (unsigned long n = 0; n < mutations; n++, tried++) {
            memcpy(input.bytes, seeds[i].bytes, seeds[i].size);
            input.size = seeds[i].size;
            for (uint64_t steps = 1 + draw(6); steps > 0; steps--)
                mutate(&input);
            run(input.bytes, input.size);
        }
    }
    printf("%lu inputs\n", tried);
    for (size_t i = 0; i < seed_count; i++)
        free(seeds[i].bytes);
    free(input.bytes);
    return 0;
}
