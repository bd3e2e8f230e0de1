/* Special tokens that the post-processor puts around a text (formats.md 4.11), and who decides about them. */
#include "text/pipeline.h"

struct reader {
    struct rlhfi_frame *frame;
    const struct rlhfi_vocabulary *vocabulary;
};

static rlhf_status push_known(struct reader *reader, rlhfi_ids *ids, const rlhfi_json *node)
{
    rlhf_context *context = reader->vocabulary->context;
    int64_t id;
    if (!rlhfi_json_integer(node, &id) || id < 0 || id > INT32_MAX ||
        !rlhfi_vocabulary_text(reader->vocabulary, (int32_t)id, NULL))
        return rlhfi_fail(context, RLHF_E_FORMAT, "ids: no token has this id");
    return rlhfi_ids_push(context, ids, &(int32_t){(int32_t)id}, 1);
}

/* New tokens stand outside those of processors before: in front of the prefix, behind the suffix. */
static rlhf_status put_around(struct reader *reader, const rlhfi_ids *before, const rlhfi_ids *after)
{
    rlhf_context *context = reader->vocabulary->context;
    rlhfi_ids *prefix = &reader->frame->prefix;
    size_t count = prefix->count;
    RLHFI_TRY(rlhfi_ids_push(context, prefix, before->data, before->count));
    if (before->count > 0) {
        memmove(prefix->data + before->count, prefix->data, count * sizeof *prefix->data);
        memcpy(prefix->data, before->data, before->count * sizeof *prefix->data);
    }
    return rlhfi_ids_push(context, &reader->frame->suffix, after->data, after->count);
}

static rlhf_status parse_template_piece(struct reader *reader, const rlhfi_json *node, const rlhfi_json *specials,
                                        rlhfi_ids sides[2], int *side)
{
    rlhf_context *context = reader->vocabulary->context;
    const char *sequence = rlhfi_json_text(rlhfi_json_get(rlhfi_json_get(node, "Sequence"), "id"), NULL);
    const char *special = rlhfi_json_text(rlhfi_json_get(rlhfi_json_get(node, "SpecialToken"), "id"), NULL);
    if (sequence) {
        if (strcmp(sequence, "A") != 0 || *side == 1)
            return rlhfi_fail(context, RLHF_E_FORMAT, "single: must have exactly one sequence, A");
        *side = 1;
        return RLHF_OK;
    }
    if (!special)
        return rlhfi_fail(context, RLHF_E_FORMAT, "single: must be a list of Sequence and SpecialToken");
    const rlhfi_json *ids = rlhfi_json_get(rlhfi_json_get(specials, special), "ids");
    if (rlhfi_json_type(ids) != RLHFI_JSON_ARRAY)
        return rlhfi_fail(context, RLHF_E_FORMAT, "special_tokens: \"%.40s\" has no ids", special);
    for (size_t i = 0; i < rlhfi_json_size(ids); i++)
        RLHFI_TRY(push_known(reader, &sides[*side], rlhfi_json_at(ids, i)));
    return RLHF_OK;
}

static rlhf_status parse_template(struct reader *reader, const rlhfi_json *node)
{
    rlhf_context *context = reader->vocabulary->context;
    rlhf_status status = RLHF_OK;
    const rlhfi_json *single = rlhfi_json_get(node, "single"), *specials = rlhfi_json_get(node, "special_tokens");
    rlhfi_ids sides[2] = {{0}, {0}};
    int side = 0;
    for (size_t i = 0; i < rlhfi_json_size(single); i++)
        RLHFI_GOTO(parse_template_piece(reader, rlhfi_json_at(single, i), specials, sides, &side));
    if (side == 0) {
        status = rlhfi_fail(context, RLHF_E_FORMAT, "single: must have exactly one sequence, A");
        goto done;
    }
    status = put_around(reader, &sides[0], &sides[1]);
done:
    rlhfi_free(context, sides[0].data);
    rlhfi_free(context, sides[1].data);
    return status;
}

/* {"cls": ["<s>", 0], "sep": ["</s>", 2]}: cls in front, sep behind. */
static rlhf_status parse_classifier(struct reader *reader, const rlhfi_json *node)
{
    rlhf_context *context = reader->vocabulary->context;
    rlhfi_ids sides[2] = {{0}, {0}};
    rlhf_status status = push_known(reader, &sides[0], rlhfi_json_at(rlhfi_json_get(node, "cls"), 1));
    if (status == RLHF_OK)
        status = push_known(reader, &sides[1], rlhfi_json_at(rlhfi_json_get(node, "sep"), 1));
    if (status == RLHF_OK)
        status = put_around(reader, &sides[0], &sides[1]);
    rlhfi_free(context, sides[0].data);
    rlhfi_free(context, sides[1].data);
    return status;
}

static rlhf_status parse_item(void *target, const rlhfi_json *node, const char *type)
{
    struct reader *reader = target;
    if (strcmp(type, "ByteLevel") == 0)
        return RLHF_OK; /* trims offsets, which we don't give */
    if (strcmp(type, "TemplateProcessing") == 0)
        return parse_template(reader, node);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0)
        return parse_classifier(reader, node);
    return rlhfi_fail(reader->vocabulary->context, RLHF_E_UNSUPPORTED, "this type of post_processor is not supported");
}

rlhf_status rlhfi_frame_parse(struct rlhfi_frame *frame, const struct rlhfi_vocabulary *vocabulary,
                              const rlhfi_json *post_processor)
{
    struct reader reader = {frame, vocabulary};
    return rlhfi_components_parse(vocabulary->context, post_processor, "processors", parse_item, &reader);
}

/* Makes id stand in ids exactly if wanted: at the outer end, where at_front says. */
static rlhf_status want(rlhfi_ids *ids, rlhf_context *context, int32_t id, bool wanted, bool at_front)
{
    size_t kept = 0;
    bool present = false;
    for (size_t i = 0; i < ids->count; i++) {
        present = present || ids->data[i] == id;
        if (wanted || ids->data[i] != id)
            ids->data[kept++] = ids->data[i];
    }
    ids->count = kept;
    if (!wanted || present)
        return RLHF_OK;
    RLHFI_TRY(rlhfi_ids_push(context, ids, &id, 1));
    if (at_front) {
        memmove(ids->data + 1, ids->data, (ids->count - 1) * sizeof *ids->data);
        ids->data[0] = id;
    }
    return RLHF_OK;
}

static rlhf_status override_end(rlhfi_ids *ids, rlhf_context *context, const rlhfi_json *config, const char *key,
                                const char *name, int32_t id, bool at_front)
{
    bool wanted;
    if (rlhfi_json_type(rlhfi_json_get(config, key)) == RLHFI_JSON_NULL)
        return RLHF_OK;
    RLHFI_TRY(rlhfi_json_flag(context, config, key, false, &wanted));
    if (wanted && id < 0)
        return rlhfi_fail(context, RLHF_E_FORMAT, "%s: true, but there is no %s", key, name);
    return id < 0 ? RLHF_OK : want(ids, context, id, wanted, at_front);
}

rlhf_status rlhfi_frame_override(struct rlhfi_frame *frame, rlhf_context *context, const rlhfi_json *config,
                                 int32_t bos, int32_t eos)
{
    RLHFI_TRY(override_end(&frame->prefix, context, config, "add_bos_token", "bos_token", bos, true));
    return override_end(&frame->suffix, context, config, "add_eos_token", "eos_token", eos, false);
}

void rlhfi_frame_free(struct rlhfi_frame *frame, rlhf_context *context)
{
    rlhfi_free(context, frame->prefix.data);
    rlhfi_free(context, frame->suffix.data);
    memset(frame, 0, sizeof *frame);
}
