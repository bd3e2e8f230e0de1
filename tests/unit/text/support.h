/* What the tests of this room share: contexts that count memory, tokenizers from few words. */
#ifndef RLHF_TESTS_TEXT_SUPPORT_H
#define RLHF_TESTS_TEXT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "text/pipeline.h"

struct memory {
    size_t live, calls;
    size_t fail_at; /* number of the call that fails, and all behind it; 0 = none */
};

static inline void *memory_alloc(void *user_data, size_t size, size_t alignment)
{
    struct memory *memory = user_data;
    memory->calls++;
    if (memory->fail_at != 0 && memory->calls >= memory->fail_at)
        return NULL;
    void *pointer = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    if (pointer)
        memory->live += size;
    return pointer;
}

static inline void memory_free(void *user_data, void *pointer, size_t size)
{
    ((struct memory *)user_data)->live -= size;
    free(pointer);
}

static inline rlhf_context *make_context(struct memory *memory)
{
    rlhf_context *context;
    rlhf_context_options options;
    rlhf_context_options_init(&options, sizeof options);
    options.threads = 1;
    *memory = (struct memory){0};
    options.allocator = (rlhf_allocator){memory_alloc, memory_free, memory};
    assert_int_equal(rlhf_context_create(&context, &options), RLHF_OK);
    return context;
}

/* Gives up the context and checks that nothing of it is left. */
static inline void end_context(rlhf_context *context, const struct memory *memory)
{
    rlhf_context_release(&context);
    assert_int_equal(memory->live, 0);
}

static inline const char *error_of(rlhf_context *context)
{
    static char text[512];
    rlhf_context_error(context, text, sizeof text);
    return text;
}

static inline void check_ok(rlhf_context *context, rlhf_status status)
{
    if (status != RLHF_OK)
        fail_msg("%s: %s", rlhf_status_name(status), error_of(context));
}

/* Parts of a tokenizer.json; NULL stands for null (or the empty list). */
struct parts {
    const char *added, *normalizer, *pre, *post, *decoder, *model;
};

static const char letters_model[] = /* a..f, their byte tokens' neighbours, a few merges */
    "{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\" \":4,\"ab\":5,\"abc\":6,\"bc\":7,\"cd\":8},"
    "\"merges\":[\"a b\",[\"b\",\"c\"],\"ab c\",\"c d\"]}";

static inline rlhf_tokenizer *make_tokenizer(rlhf_context *context, struct parts parts, const char *config)
{
    static char json[16384];
    rlhf_tokenizer *tokenizer;
    int bytes = snprintf(json, sizeof json,
                         "{\"version\":\"1.0\",\"added_tokens\":%s,\"normalizer\":%s,\"pre_tokenizer\":%s,"
                         "\"post_processor\":%s,\"decoder\":%s,\"model\":%s}",
                         parts.added ? parts.added : "[]", parts.normalizer ? parts.normalizer : "null",
                         parts.pre ? parts.pre : "null", parts.post ? parts.post : "null",
                         parts.decoder ? parts.decoder : "null", parts.model ? parts.model : letters_model);
    assert_true(bytes > 0 && bytes < (int)sizeof json);
    check_ok(context,
             rlhf_tokenizer_create(&tokenizer, context, json, (size_t)bytes, config, config ? strlen(config) : 0));
    return tokenizer;
}

/* Ids of text as "1 2 3". */
static inline const char *ids_of(const rlhf_tokenizer *tokenizer, const char *text, uint32_t flags)
{
    static char spelled[4096];
    rlhf_context *context = rlhfi_tokenizer_context(tokenizer);
    rlhfi_ids ids = {0};
    size_t used = 0;
    check_ok(context, rlhfi_tokenizer_encode_append(tokenizer, text, strlen(text), flags, &ids));
    spelled[0] = '\0';
    for (size_t i = 0; i < ids.count && used < sizeof spelled - 16; i++)
        used += (size_t)snprintf(spelled + used, sizeof spelled - used, i > 0 ? " %d" : "%d", (int)ids.data[i]);
    rlhfi_free(context, ids.data);
    return spelled;
}

static inline const char *text_of(const rlhf_tokenizer *tokenizer, const int32_t *ids, size_t count, uint32_t flags)
{
    static char decoded[4096];
    rlhf_context *context = rlhfi_tokenizer_context(tokenizer);
    rlhfi_string text;
    rlhfi_string_init(&text, context);
    check_ok(context, rlhfi_tokenizer_decode_append(tokenizer, ids, count, flags, &text));
    snprintf(decoded, sizeof decoded, "%.*s", (int)text.size, text.data ? text.data : "");
    rlhfi_string_free(&text);
    return decoded;
}

/* Processor time, so that a busy machine does not fail a test. */
static inline double processor_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

#endif
