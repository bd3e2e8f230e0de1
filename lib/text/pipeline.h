/* The parts of a tokenizer in the order in which a text passes through them (formats.md 4.2):
 *   added tokens in the raw text -> normalisers -> added tokens in the normalised text -> pre-tokenisers -> BPE,
 * then the special tokens around it; and the decoders for the way back. */
#ifndef RLHFI_TEXT_PIPELINE_H
#define RLHFI_TEXT_PIPELINE_H

#include "text/pattern.h"
#include "text/text.h"
#include "text/unicode.h"

/* ---- components of tokenizer.json ------------------------------------------------------------------------------ */

enum { RLHFI_MAX_NESTING = 16, RLHFI_MAX_COMPONENTS = 64 };

/* Reads one component that is not a Sequence. */
typedef rlhf_status (*rlhfi_component_parse)(void *target, const rlhfi_json *node, const char *type);
/* Calls parse for every component in node in order, Sequences (their members stand under list_key) taken apart; nothing
 * for null. */
rlhf_status rlhfi_components_parse(rlhf_context *context, const rlhfi_json *node, const char *list_key,
                                   rlhfi_component_parse parse, void *target);
/* An optional boolean: fallback if missing or null, FORMAT if something else. */
rlhf_status rlhfi_json_flag(rlhf_context *context, const rlhfi_json *object, const char *key, bool fallback, bool *out);

/* ---- vocabulary ------------------------------------------------------------------------------------------------ */

enum {
    RLHFI_TOKEN_ADDED = 1,
    RLHFI_TOKEN_SPECIAL = 2,
    RLHFI_TOKEN_REWRITTEN = 4,   /* normalisers change its spelling */
    RLHFI_TOKEN_NOT_IN_MODEL = 8 /* byte-pair encoding never gives it */
};
struct rlhfi_token {
    uint32_t offset, bytes; /* in text; offset UINT32_MAX: no token has this id */
    uint8_t flags;
};
struct rlhfi_vocabulary {
    rlhf_context *context;
    rlhfi_table *ids;           /* spelling -> id */
    rlhfi_string text;          /* all spellings, each with a NUL behind it */
    struct rlhfi_token *tokens; /* by id */
    int32_t count, capacity;    /* one more than the largest id; allocated */
    int32_t limit;              /* ids at or above would make the table absurdly sparse */
};
rlhf_status rlhfi_vocabulary_init(struct rlhfi_vocabulary *vocabulary, rlhf_context *context, size_t expected);
rlhf_status rlhfi_vocabulary_add(struct rlhfi_vocabulary *vocabulary, const char *text, size_t bytes, int64_t id);
int32_t rlhfi_vocabulary_find(const struct rlhfi_vocabulary *vocabulary, const char *text, size_t bytes); /* or -1 */
const char *rlhfi_vocabulary_text(const struct rlhfi_vocabulary *vocabulary, int32_t id, size_t *bytes);  /* or NULL */
void rlhfi_vocabulary_free(struct rlhfi_vocabulary *vocabulary);

/* ---- byte-pair encoding ---------------------------------------------------------------------------------------- */

struct rlhfi_merge_slot { /* of an open-addressing table; left -1 = free */
    int32_t left, right;
    uint32_t rank;
    int32_t result;
};
enum { RLHFI_DIRECT_CHARACTERS = 0x300 };
struct rlhfi_bpe {
    rlhf_context *context;
    const struct rlhfi_vocabulary *vocabulary;
    struct rlhfi_merge_slot *merges;
    size_t mask;                             /* slots - 1 */
    int32_t direct[RLHFI_DIRECT_CHARACTERS]; /* ids of the first characters, -1 = none */
    int32_t byte_ids[256];                   /* of <0xHH>, -1 = none */
    int32_t unknown;                         /* -1 = unknown characters vanish */
    bool byte_fallback, fuse_unknown, ignore_merges;
    bool breaks_at_blocks; /* no merge crosses from another character to U+2581 */
    char *prefix, *suffix; /* of continuing subwords, of ends of words; NULL = none */
    size_t prefix_bytes, suffix_bytes;
};
struct rlhfi_symbol {           /* a token in the making; a doubly linked list through an array */
    int32_t id, previous, next; /* id -1: merged into its left neighbour */
};
struct rlhfi_candidate { /* a pair that may be merged: lowest rank first, then leftmost */
    uint64_t order;
    int32_t result;
};
struct rlhfi_cache_entry { /* one cache line: a short pre-token and its ids */
    uint32_t hash;
    uint8_t bytes, count; /* bytes 0 = free */
    char text[26];
    int32_t ids[8];
};
struct rlhfi_bpe_scratch {
    struct rlhfi_symbol *symbols;
    struct rlhfi_candidate *heap;
    size_t symbol_capacity, heap_capacity, symbol_count, heap_count;
    struct rlhfi_cache_entry *cache;
    rlhfi_string spelling;
};
rlhf_status rlhfi_bpe_parse(struct rlhfi_bpe *bpe, struct rlhfi_vocabulary *vocabulary, rlhf_context *context,
                            const rlhfi_json *model);
/* A pair that stands twice keeps its last rank, as in the reference. merges must have room. */
void rlhfi_bpe_put_merge(struct rlhfi_bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t result);
/* Appends the ids of one pre-token. */
rlhf_status rlhfi_bpe_encode(const struct rlhfi_bpe *bpe, struct rlhfi_bpe_scratch *scratch, const char *text,
                             size_t bytes, rlhfi_ids *ids);
void rlhfi_bpe_free(struct rlhfi_bpe *bpe);
rlhf_status rlhfi_bpe_scratch_init(struct rlhfi_bpe_scratch *scratch, rlhf_context *context);
void rlhfi_bpe_scratch_trim(struct rlhfi_bpe_scratch *scratch, rlhf_context *context); /* gives back large buffers */
void rlhfi_bpe_scratch_free(struct rlhfi_bpe_scratch *scratch, rlhf_context *context);

/* ---- added tokens ---------------------------------------------------------------------------------------------- */

struct rlhfi_added_token {
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    char *content; /* as matched: after normalisation, if normalized */
    size_t bytes;
};
struct rlhfi_trie_node {
    int32_t child, sibling, token; /* -1 = none */
    uint8_t byte;
};
struct rlhfi_trie {
    struct rlhfi_trie_node *nodes; /* nodes[0] is the root */
    int32_t count, capacity;
    int32_t first[256]; /* child of the root per byte, -1 = no token starts so */
    bool any;
};
struct rlhfi_added_tokens {
    struct rlhfi_added_token *tokens;
    size_t count, capacity;
    struct rlhfi_trie raw, normalized; /* tokens looked for before and after normalisation */
};
struct rlhfi_normalizers;
/* The list of tokenizer.json, then what added_tokens_decoder of tokenizer_config.json has besides; both may be NULL. */
rlhf_status rlhfi_added_tokens_parse(struct rlhfi_added_tokens *added, struct rlhfi_vocabulary *vocabulary,
                                     const struct rlhfi_normalizers *normalizers, const rlhfi_json *list,
                                     const rlhfi_json *decoder);
/* Finds the next added token at or behind *at and moves *at behind it. Its stretch [*start, *end) includes white space
 * that it swallows on either side, but nothing before floor. White space swallowed on the right is searched again, as
 * in the reference: a later token may take part of it back. *token NULL: none. */
void rlhfi_added_tokens_find(const struct rlhfi_added_tokens *added, const struct rlhfi_trie *trie, bool skip_special,
                             const char *text, size_t bytes, size_t *at, size_t floor, size_t *start, size_t *end,
                             const struct rlhfi_added_token **token);
void rlhfi_added_tokens_free(struct rlhfi_added_tokens *added, rlhf_context *context);

/* ---- normalisers ----------------------------------------------------------------------------------------------- */

struct rlhfi_normalizer {
    int32_t kind;
    bool left, right; /* Strip */
    enum rlhfi_normal_form form;
    char *content; /* Prepend, Replace */
    size_t content_bytes;
    struct rlhfi_pattern pattern; /* Replace */
};
struct rlhfi_normalizers {
    rlhf_context *context;
    struct rlhfi_normalizer *items;
    size_t count;
};
rlhf_status rlhfi_normalizers_parse(struct rlhfi_normalizers *normalizers, rlhf_context *context,
                                    const rlhfi_json *node);
/* Points *out at the normalised text: text itself, or one of the two buffers (which are overwritten). */
rlhf_status rlhfi_normalize(const struct rlhfi_normalizers *normalizers, rlhfi_string buffers[2], const char *text,
                            size_t bytes, const char **out, size_t *out_bytes);
void rlhfi_normalizers_free(struct rlhfi_normalizers *normalizers);

/* ---- pre-tokenisers -------------------------------------------------------------------------------------------- */

struct rlhfi_pretokenizer {
    int32_t kind;
    int32_t behavior;
    bool invert, prefix_space, split;
    int32_t prepend; /* Metaspace */
    char replacement[4];
    size_t replacement_bytes;
    struct rlhfi_pattern pattern;
};
struct rlhfi_pretokenizers {
    rlhf_context *context;
    struct rlhfi_pretokenizer *items;
    size_t count;
};
typedef rlhf_status (*rlhfi_piece_fn)(void *user_data, const char *text, size_t bytes);
rlhf_status rlhfi_pretokenizers_parse(struct rlhfi_pretokenizers *pretokenizers, rlhf_context *context,
                                      const rlhfi_json *node);
/* Hands every pre-token of text to emit. buffers: two per pre-tokeniser. at_start: text begins where the input began.
 */
rlhf_status rlhfi_pretokenize(const struct rlhfi_pretokenizers *pretokenizers, rlhfi_string *buffers, const char *text,
                              size_t bytes, bool at_start, rlhfi_piece_fn emit, void *user_data);
void rlhfi_pretokenizers_free(struct rlhfi_pretokenizers *pretokenizers);

/* GPT-2's byte alphabet (formats.md 4.8). */
uint32_t rlhfi_byte_character(uint8_t byte);
int32_t rlhfi_character_byte(uint32_t code); /* -1: not in the alphabet */
void rlhfi_bytes_add_characters(rlhfi_string *out, const char *bytes, size_t count);

/* ---- decoders -------------------------------------------------------------------------------------------------- */

struct rlhfi_decoder {
    int32_t kind;
    char *content; /* Replace, Strip, BPEDecoder, Metaspace */
    size_t content_bytes;
    int64_t left, right;          /* Strip */
    bool drop_first;              /* Metaspace */
    struct rlhfi_pattern pattern; /* Replace */
};
struct rlhfi_decoders {
    rlhf_context *context;
    struct rlhfi_decoder *items;
    size_t count;
};
struct rlhfi_pieces { /* token texts, one behind the other; piece i ends at ends[i] */
    rlhfi_string text;
    size_t *ends;
    size_t count, capacity;
};
rlhf_status rlhfi_decoders_parse(struct rlhfi_decoders *decoders, rlhf_context *context, const rlhfi_json *node);
/* Turns the pieces into text, appended to out. lists[0] holds them; both lists are overwritten. */
rlhf_status rlhfi_decode_pieces(const struct rlhfi_decoders *decoders, struct rlhfi_pieces lists[2], rlhfi_string *out);
rlhf_status rlhfi_pieces_add(struct rlhfi_pieces *pieces, const char *text, size_t bytes);
void rlhfi_decoders_free(struct rlhfi_decoders *decoders);

/* ---- special tokens around a text ------------------------------------------------------------------------------ */

struct rlhfi_frame {
    rlhfi_ids prefix, suffix;
};
rlhf_status rlhfi_frame_parse(struct rlhfi_frame *frame, const struct rlhfi_vocabulary *vocabulary,
                              const rlhfi_json *post_processor);
/* tokenizer_config.json's add_bos_token and add_eos_token decide over the post-processor, where present. */
rlhf_status rlhfi_frame_override(struct rlhfi_frame *frame, rlhf_context *context, const rlhfi_json *config,
                                 int32_t bos, int32_t eos);
void rlhfi_frame_free(struct rlhfi_frame *frame, rlhf_context *context);

/* ---- the whole ------------------------------------------------------------------------------------------------- */

struct rlhfi_workspace { /* buffers that encoding uses; a tokenizer belongs to its context's thread */
    rlhfi_string cleaned, normal[2], decoded;
    rlhfi_string *stages;
    size_t stage_count;
    rlhfi_ids ids;
    struct rlhfi_bpe_scratch bpe;
    struct rlhfi_pieces pieces[2];
};

enum { RLHFI_TOKENIZER_FILES = 4 };
struct rlhf_tokenizer {
    int64_t references;
    rlhf_context *context;
    struct { /* files of the directory, kept to be written again */
        char *text;
        size_t bytes;
    } files[RLHFI_TOKENIZER_FILES];
    struct rlhfi_vocabulary vocabulary;
    struct rlhfi_bpe bpe;
    struct rlhfi_added_tokens added;
    struct rlhfi_normalizers normalizers;
    struct rlhfi_pretokenizers pretokenizers;
    struct rlhfi_decoders decoders;
    struct rlhfi_frame frame;
    int32_t special[5]; /* by RLHF_TOKEN_*, -1 = none */
    bool clean_up_spaces;
    struct rlhfi_workspace *workspace;
};
/* Fills a zeroed tokenizer from the texts in files[0] and files[1]. */
rlhf_status rlhfi_tokenizer_parse(rlhf_tokenizer *tokenizer);

#endif
