/* PCRE2 behind rlhfi_regex. Patterns and texts come from files: both are bounded, and a match that would take too long
 * is an error, never a hang. */
#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    MATCH_LIMIT = 10 * 1000 * 1000, /* steps of one match: about a tenth of a second ... */
    STEPS_PER_BYTE = 16,            /* ... and some for each byte, because a run of spaces is one match */
    HEAP_LIMIT = 64 * 1024,         /* KiB of backtracking, only without JIT */
    JIT_STACK_START = 32 * 1024,
    JIT_STACK_LIMIT = 8 * 1024 * 1024,
};

struct rlhfi_regex {
    rlhf_context *context;
    pcre2_general_context *general;
    pcre2_code *code;
    pcre2_match_context *limits;
    pcre2_match_data *match;
    pcre2_jit_stack *stack; /* NULL without JIT */
};

static void *engine_alloc(size_t size, void *context)
{
    return rlhfi_alloc(context, size);
}

static void engine_free(void *pointer, void *context)
{
    rlhfi_free(context, pointer);
}

void rlhfi_regex_release(rlhfi_regex **pointer)
{
    rlhfi_regex *regex = *pointer;
    if (!regex)
        return;
    pcre2_jit_stack_free(regex->stack);
    pcre2_match_data_free(regex->match);
    pcre2_match_context_free(regex->limits);
    pcre2_code_free(regex->code);
    pcre2_general_context_free(regex->general);
    rlhfi_free(regex->context, regex);
    *pointer = NULL;
}

static rlhf_status compile(rlhfi_regex *regex, const rlhfi_string *pattern)
{
    rlhf_context *context = regex->context;
    regex->general = pcre2_general_context_create(engine_alloc, engine_free, context);
    pcre2_compile_context *options = regex->general ? pcre2_compile_context_create(regex->general) : NULL;
    if (!options)
        return rlhfi_out_of_memory(context);
    pcre2_set_parens_nest_limit(options, 64);
    pcre2_set_max_pattern_length(options, 64 * 1024);
    pcre2_set_newline(options, PCRE2_NEWLINE_LF);

    int error;
    PCRE2_SIZE offset;
    regex->code =
        pcre2_compile((PCRE2_SPTR)(pattern->data ? pattern->data : ""), pattern->size,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, options);
    pcre2_compile_context_free(options);
    if (!regex->code) {
        PCRE2_UCHAR text[128] = "";
        if (error == PCRE2_ERROR_NOMEMORY || error == 121 /* compile error 21: failed to get memory */)
            return rlhfi_out_of_memory(context);
        pcre2_get_error_message(error, text, sizeof text);
        return rlhfi_fail(context, RLHF_E_FORMAT, "regex: byte %zu: %s", (size_t)offset, (const char *)text);
    }
    regex->limits = pcre2_match_context_create(regex->general);
    regex->match = pcre2_match_data_create(1, regex->general);
    if (!regex->limits || !regex->match)
        return rlhfi_out_of_memory(context);
    pcre2_set_heap_limit(regex->limits, HEAP_LIMIT);

    /* No JIT (hardened systems forbid writable code) is slower, nothing else. */
    if (pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0) {
        regex->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_LIMIT, regex->general);
        if (!regex->stack)
            return rlhfi_out_of_memory(context);
        pcre2_jit_stack_assign(regex->limits, NULL, regex->stack);
    }
    return RLHF_OK;
}

rlhf_status rlhfi_regex_compile(rlhfi_regex **out, rlhf_context *context, const char *pattern, size_t bytes)
{
    rlhf_status status = RLHF_OK;
    rlhfi_string translated;
    *out = NULL;
    rlhfi_string_init(&translated, context);
    rlhfi_regex *regex = rlhfi_calloc(context, 1, sizeof *regex);
    if (!regex) {
        status = rlhfi_out_of_memory(context);
        goto done;
    }
    regex->context = context;
    RLHFI_GOTO(rlhfi_regex_translate(context, pattern, bytes, &translated));
    RLHFI_GOTO(compile(regex, &translated));
    *out = regex;
    regex = NULL;
done:
    rlhfi_regex_release(&regex);
    rlhfi_string_free(&translated);
    return status;
}

rlhf_status rlhfi_regex_find(rlhfi_regex *regex, const char *text, size_t bytes, size_t from, size_t *start,
                             size_t *end, bool *found)
{
    const size_t most = (UINT32_MAX - MATCH_LIMIT) / STEPS_PER_BYTE;
    uint32_t limit = MATCH_LIMIT + STEPS_PER_BYTE * (uint32_t)(bytes < most ? bytes : most);
    pcre2_set_match_limit(regex->limits, limit);
    pcre2_set_depth_limit(regex->limits, limit);
    *found = false;
    int result =
        pcre2_match(regex->code, (PCRE2_SPTR)text, bytes, from, PCRE2_NO_UTF_CHECK, regex->match, regex->limits);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT)
        result = pcre2_match(regex->code, (PCRE2_SPTR)text, bytes, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                             regex->match, regex->limits);
    if (result == PCRE2_ERROR_NOMATCH)
        return RLHF_OK;
    if (result == PCRE2_ERROR_NOMEMORY)
        return rlhfi_out_of_memory(regex->context);
    if (result < 0) {
        PCRE2_UCHAR reason[128] = "";
        pcre2_get_error_message(result, reason, sizeof reason);
        return rlhfi_fail(regex->context, RLHF_E_FORMAT, "tokenizer: the regex failed at byte %zu of the text: %s",
                          from, (const char *)reason);
    }
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(regex->match);
    /* \K in a look-behind can make a match that ends before it starts or begins before from. */
    if (range[0] < from || range[1] < range[0])
        return rlhfi_fail(regex->context, RLHF_E_FORMAT, "tokenizer: the regex matched backwards at byte %zu", from);
    *start = range[0];
    *end = range[1];
    *found = true;
    return RLHF_OK;
}
