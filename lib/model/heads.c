/* What stands on the trunk: the tokens head (its loss is fused in the compute room) and the scalar head, which works in
 * float whatever the products do: it is no work, and scores are better for it. */
#include "model/internal.h"

rlhfi_head_matrix rlhfi_head_weight(const rlhfi_model *model)
{
    return (rlhfi_head_matrix){rlhfi_weight_at(model, model->table->head), rlhfi_rounds(model)};
}

float *rlhfi_head_gradient(rlhfi_model *model)
{
    return model->gradient + model->table->head;
}

static const float *scalar_weight(const rlhfi_model *model)
{
    return rlhfi_vector_at(model, model->table->scalar);
}

/* The wanted rows side by side, so that one product reads them. */
static rlhf_status gather_rows(const rlhfi_model *model, int64_t rows, const int64_t *row, const float *hidden,
                               float **out)
{
    int64_t width = model->architecture.width;
    int32_t *id = rlhfi_scratch(model, rows, sizeof *id);

    *out = rlhfi_scratch(model, rows * width, sizeof(float));
    if (id == NULL || *out == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < rows; i++)
        id[i] = (int32_t)row[i];
    rlhfi_gather(model->context, rows, width, hidden, id, 0, *out);
    return RLHF_OK;
}

rlhf_status rlhfi_scalar_head(rlhfi_model *model, int64_t rows, const int64_t *row, const float *hidden, float *score)
{
    int64_t width = model->architecture.width;
    size_t mark = rlhfi_arena_mark(model->arena);
    float *gathered;
    rlhf_status status = RLHF_OK;

    if (rows == 0)
        return RLHF_OK;
    RLHFI_TRY(gather_rows(model, rows, row, hidden, &gathered));
    status = rlhfi_product(model->context, RLHFI_NO, RLHFI_YES, rows, 1, width, gathered, width,
                           scalar_weight(model), width, NULL, 0, score, 1);
    rlhfi_arena_rewind(model->arena, mark);
    return status;
}

rlhf_status rlhfi_scalar_head_backward(rlhfi_model *model, int64_t rows, const int64_t *row, const float *hidden,
                                       const float *d_score, float *d_hidden)
{
    int64_t width = model->architecture.width;
    const float *weight = scalar_weight(model);
    size_t mark = rlhfi_arena_mark(model->arena);
    float *gathered;
    rlhf_status status;

    RLHFI_TRY(rlhfi_model_need_gradient(model));
    if (rows == 0)
        return RLHF_OK;
    RLHFI_TRY(gather_rows(model, rows, row, hidden, &gathered));
    status = rlhfi_product(model->context, RLHFI_YES, RLHFI_NO, 1, width, rows, d_score, 1, gathered, width, NULL, 1,
                           model->gradient + model->table->scalar, width);
    for (int64_t i = 0; i < rows && status == RLHF_OK; i++) {
        float *to = d_hidden + row[i] * width;
        for (int64_t j = 0; j < width; j++)
            to[j] += d_score[i] * weight[j];
    }
    rlhfi_arena_rewind(model->arena, mark);
    return status;
}
