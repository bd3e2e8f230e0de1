/* Weights of a model as panels. They are made when first asked for and packed again after the weights have changed. */
#include "model/internal.h"

const rlhfi_layer_panels rlhfi_no_panels = {0};

void rlhfi_panel_set_release(rlhfi_model *model)
{
    struct rlhfi_panel_set *set = model->decode;

    if (set == NULL)
        return;
    for (int64_t i = 0; set->layer != NULL && i < model->architecture.layers; i++) {
        rlhfi_layer_panels *layer = &set->layer[i];
        rlhfi_panels **all[] = {&layer->qkv,   &layer->output,   &layer->up,   &layer->down,
                                &layer->d_qkv, &layer->d_output, &layer->d_up, &layer->d_down};
        for (size_t n = 0; n < sizeof all / sizeof all[0]; n++)
            rlhfi_panels_release(all[n]);
    }
    rlhfi_panels_release(&set->head);
    rlhfi_free(model->context, set->layer);
    rlhfi_free(model->context, set);
    model->decode = NULL;
}

/* y = x W, or for the way back dx = dy W^T. Panels that are there already are packed again only if fresh says so. */
static rlhf_status pack(const rlhfi_model *model, const rlhfi_linear *map, bool transposed, bool back, bool fresh,
                        rlhfi_panels **panels)
{
    rlhfi_array weight = rlhfi_weight_at(model, map->weight);
    int64_t ld = transposed ? map->in : map->out; /* rows of the stored matrix are [out, in] or [in, out] */
    int64_t n = back ? map->in : map->out, k = back ? map->out : map->in;
    int layout = back ? !transposed : transposed;

    if (*panels != NULL) {
        if (fresh)
            rlhfi_panels_repack(*panels, weight, ld);
        return RLHF_OK;
    }
    return rlhfi_rounds(model) ? rlhfi_panels_create_bf16(panels, model->context, layout, n, k, weight, ld)
                               : rlhfi_panels_create(panels, model->context, layout, n, k, weight.f32, ld);
}

static rlhf_status pack_layer(const rlhfi_model *model, int64_t layer, bool back, bool fresh,
                              rlhfi_layer_panels *panels)
{
    bool transposed = model->architecture.transposed_weights;
    rlhfi_linear qkv = rlhfi_linear_qkv(model, layer), output = rlhfi_linear_output(model, layer);
    rlhfi_linear up = rlhfi_linear_up(model, layer), down = rlhfi_linear_down(model, layer);

    RLHFI_TRY(pack(model, &qkv, transposed, back, fresh, back ? &panels->d_qkv : &panels->qkv));
    RLHFI_TRY(pack(model, &output, transposed, back, fresh, back ? &panels->d_output : &panels->output));
    RLHFI_TRY(pack(model, &up, transposed, back, fresh, back ? &panels->d_up : &panels->up));
    return pack(model, &down, transposed, back, fresh, back ? &panels->d_down : &panels->down);
}

static rlhf_status pack_all(const rlhfi_model *model, struct rlhfi_panel_set *set, bool head, bool backward, bool fresh)
{
    const rlhfi_architecture *a = &model->architecture;
    rlhfi_linear map = {model->table->head, RLHFI_NONE, a->width, a->vocabulary};

    for (int64_t i = 0; i < a->layers; i++) {
        RLHFI_TRY(pack_layer(model, i, false, fresh, &set->layer[i]));
        if (backward || (fresh && set->layer[i].d_qkv != NULL))
            RLHFI_TRY(pack_layer(model, i, true, fresh, &set->layer[i]));
    }
    return head || (fresh && set->head != NULL) ? pack(model, &map, true, false, fresh, &set->head) : RLHF_OK;
}

rlhf_status rlhfi_panels_need(rlhfi_model *model, bool head, bool backward)
{
    struct rlhfi_panel_set *set = model->decode;
    rlhf_status status = RLHF_E_NOMEM;
    bool fresh = set == NULL || set->version != model->version;

    if (!fresh && (!head || set->head != NULL) && (!backward || set->layer[0].d_qkv != NULL))
        return RLHF_OK;
    if (set == NULL) {
        set = model->decode = rlhfi_calloc(model->context, 1, sizeof *set);
        if (set == NULL)
            return RLHF_E_NOMEM;
        set->layer = rlhfi_calloc(model->context, (size_t)model->architecture.layers, sizeof *set->layer);
    }
    if (set->layer != NULL)
        status = pack_all(model, set, head, backward, fresh);
    set->version = model->version;
    if (status != RLHF_OK)
        rlhfi_panel_set_release(model); /* half of it would pass for all */
    return status;
}
