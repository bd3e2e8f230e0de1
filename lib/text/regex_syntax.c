/* From the reference engine's regex syntax to PCRE2's. The two agree but for a few escapes and quantifiers:
 *   \s        25 white-space characters; PCRE2 10.42 adds U+180E
 *   \w        letters, marks, decimal digits, letter numbers, connectors and circled letters, and outside brackets
 *             the superscripts and fractions of ISO 8859-1; PCRE2 10.42 has letters, all numbers and _
 *   \h        a hexadecimal digit; PCRE2: horizontal space
 *   \uHHHH    a character; PCRE2 refuses it
 *   x{n,m}+   the interval repeated; PCRE2: possessive
 *   [a&&b], [a[b]]   set operations; PCRE2 takes them as plain characters, so they are refused
 *   [[:alpha:]]      by Unicode properties; PCRE2's sets differ, so they are refused */
#include "text/regex.h"

#define SPACES                                                                                                         \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define WORDS                                                                                                          \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{"    \
    "1f189}"
#define LATIN1_WORDS "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}" /* only where \w stands alone */
#define DIGITS "0-9a-fA-F"

enum { MAX_GROUPS = 64 };

struct translation {
    rlhf_context *context;
    const char *pattern;
    size_t bytes, at;
    rlhfi_string *out;
    size_t atom;               /* where the last complete atom begins in out */
    size_t groups[MAX_GROUPS]; /* where each open group begins in out */
    size_t depth;
};

static char peek(const struct translation *run, size_t ahead)
{
    return run->at + ahead < run->bytes ? run->pattern[run->at + ahead] : '\0';
}

static void copy(struct translation *run, size_t count)
{
    if (count > run->bytes - run->at)
        count = run->bytes - run->at;
    rlhfi_string_add_bytes(run->out, run->pattern + run->at, count);
    run->at += count;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static rlhf_status refuse(struct translation *run, const char *what)
{
    return rlhfi_fail(run->context, RLHF_E_UNSUPPORTED, "regex: byte %zu: %s", run->at, what);
}

/* The members that a shorthand class stands for, or NULL if c is none. */
static const char *class_members(char c)
{
    switch (c) {
    case 's':
    case 'S':
        return SPACES;
    case 'w':
    case 'W':
        return WORDS;
    case 'h':
    case 'H':
        return DIGITS;
    default:
        return NULL;
    }
}

static rlhf_status translate_escape(struct translation *run, bool in_class)
{
    char letter = peek(run, 1);
    const char *members = class_members(letter);
    if (members) {
        bool negated = letter == 'S' || letter == 'W' || letter == 'H';
        if (in_class && negated) {
            /* A complement inside brackets has no spelling; PCRE2's own \S lacks U+180E alone. */
            if (letter != 'S')
                return refuse(run, "\\W and \\H inside brackets are not supported");
            rlhfi_string_add(run->out, "\\S\\x{180e}");
            run->at += 2;
            return RLHF_OK;
        }
        if (!in_class)
            rlhfi_string_add(run->out, negated ? "[^" : "[");
        rlhfi_string_add(run->out, members);
        if (!in_class && (letter == 'w' || letter == 'W'))
            rlhfi_string_add(run->out, LATIN1_WORDS);
        if (!in_class)
            rlhfi_string_add(run->out, "]");
        run->at += 2;
        return RLHF_OK;
    }
    if (letter == 'u' && is_hex(peek(run, 2)) && is_hex(peek(run, 3)) && is_hex(peek(run, 4)) && is_hex(peek(run, 5))) {
        rlhfi_string_add(run->out, "\\x{");
        rlhfi_string_add_bytes(run->out, run->pattern + run->at + 2, 4);
        rlhfi_string_add(run->out, "}");
        run->at += 6;
        return RLHF_OK;
    }
    copy(run, 2);
    if ((letter == 'p' || letter == 'P' || letter == 'x') && peek(run, 0) == '{') {
        size_t length = 0; /* the braces of a property are no interval */
        while (peek(run, length) != '\0' && peek(run, length) != '}')
            length++;
        copy(run, length + 1);
    }
    return RLHF_OK;
}

static rlhf_status translate_class(struct translation *run)
{
    copy(run, 1);
    if (peek(run, 0) == '^')
        copy(run, 1);
    if (peek(run, 0) == ']')
        copy(run, 1); /* a bracket in first place is a character */
    while (run->at < run->bytes && peek(run, 0) != ']') {
        if (peek(run, 0) == '\\') {
            RLHFI_TRY(translate_escape(run, true));
        } else if (peek(run, 0) == '[' && peek(run, 1) == ':') {
            return refuse(run, "named classes [:x:] are not supported");
        } else if (peek(run, 0) == '[' || (peek(run, 0) == '&' && peek(run, 1) == '&')) {
            return refuse(run, "set operations inside brackets are not supported");
        } else {
            copy(run, 1);
        }
    }
    copy(run, 1);
    return RLHF_OK;
}

/* Bytes of an interval {n}, {n,}, {,m} or {n,m} at the place, 0 if there is none. */
static size_t interval_length(const struct translation *run)
{
    size_t length = 1, digits = 0;
    if (peek(run, 0) != '{')
        return 0;
    for (; (peek(run, length) >= '0' && peek(run, length) <= '9') || peek(run, length) == ','; length++)
        digits += peek(run, length) != ',';
    return digits > 0 && peek(run, length) == '}' ? length + 1 : 0;
}

/* x{n,m}+ becomes (?:x{n,m})+ : the atom that was written already gets its parenthesis in front. */
static void translate_repeated_interval(struct translation *run, size_t length)
{
    rlhfi_string tail;
    rlhfi_string_init(&tail, run->context);
    if (run->out->data && run->atom <= run->out->size)
        rlhfi_string_add_bytes(&tail, run->out->data + run->atom, run->out->size - run->atom);
    if (tail.failed) {
        run->out->failed = true;
    } else if (run->out->data) {
        run->out->size = run->atom;
        rlhfi_string_add(run->out, "(?:");
        rlhfi_string_add_bytes(run->out, tail.data, tail.size);
        copy(run, length);
        rlhfi_string_add(run->out, ")+");
        run->at++;
    }
    rlhfi_string_free(&tail);
}

static rlhf_status translate_item(struct translation *run)
{
    size_t start = run->out->size, interval;
    switch (peek(run, 0)) {
    case '\\':
        RLHFI_TRY(translate_escape(run, false));
        run->atom = start;
        return RLHF_OK;
    case '[':
        RLHFI_TRY(translate_class(run));
        run->atom = start;
        return RLHF_OK;
    case '(':
        if (run->depth == MAX_GROUPS)
            return refuse(run, "groups are nested too deep");
        run->groups[run->depth++] = start;
        copy(run, peek(run, 1) == '?' ? 2 : 1);
        return RLHF_OK;
    case ')':
        copy(run, 1);
        run->atom = run->depth > 0 ? run->groups[--run->depth] : start;
        return RLHF_OK;
    case '*':
    case '+':
    case '?':
        copy(run, 1);
        return RLHF_OK;
    case '{':
        interval = interval_length(run);
        if (interval > 0 && peek(run, interval) == '+') {
            translate_repeated_interval(run, interval);
            return RLHF_OK;
        }
        copy(run, interval > 0 ? interval : 1);
        return RLHF_OK;
    default:
        copy(run, 1);
        while ((peek(run, 0) & 0xC0) == 0x80)
            copy(run, 1); /* the rest of a character */
        run->atom = start;
        return RLHF_OK;
    }
}

rlhf_status rlhfi_regex_translate(rlhf_context *context, const char *pattern, size_t bytes, rlhfi_string *out)
{
    struct translation run = {.context = context, .pattern = pattern, .bytes = bytes, .out = out};
    if (bytes > RLHFI_MAX_PATTERN)
        return rlhfi_fail(context, RLHF_E_FORMAT, "regex: %zu bytes, at most %d are allowed", bytes, RLHFI_MAX_PATTERN);
    if (memchr(pattern, '\0', bytes))
        return rlhfi_fail(context, RLHF_E_FORMAT, "regex: contains a NUL character");
    while (run.at < run.bytes && !out->failed)
        RLHFI_TRY(translate_item(&run));
    return out->failed ? rlhfi_out_of_memory(context) : RLHF_OK;
}
