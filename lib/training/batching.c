/* Which rows make an optimizer step, and batches of them: views into the trainer's arena, so that a step allocates
 * nothing once the first has made room. */
#include "training/training.h"

#include <math.h>

rlhf_status rlhfi_view_from_sequences(rlhfi_arena *arena, const rlhfi_sequence *const *sequences, int64_t count,
                                      rlhf_batch_view *view)
{
    int64_t *offset = rlhfi_arena_alloc(arena, (size_t)count + 1, sizeof *offset);
    int64_t *response_offset = rlhfi_arena_alloc(arena, (size_t)count + 1, sizeof *response_offset);
    int32_t *prompt_length = rlhfi_arena_alloc(arena, (size_t)count + 1, sizeof *prompt_length);
    int32_t *tokens;

    if (offset == NULL || response_offset == NULL || prompt_length == NULL)
        return RLHF_E_NOMEM;
    offset[0] = response_offset[0] = 0;
    for (int64_t i = 0; i < count; i++) {
        offset[i + 1] = offset[i] + sequences[i]->length;
        prompt_length[i] = sequences[i]->prompt_length;
        response_offset[i + 1] = response_offset[i] + sequences[i]->length - prompt_length[i];
    }
    tokens = rlhfi_arena_alloc(arena, (size_t)offset[count] + 1, sizeof *tokens);
    if (tokens == NULL)
        return RLHF_E_NOMEM;
    for (int64_t i = 0; i < count; i++)
        if (sequences[i]->length > 0)
            memcpy(tokens + offset[i], sequences[i]->tokens, (size_t)sequences[i]->length * sizeof *tokens);
    *view = (rlhf_batch_view){.struct_size = sizeof *view,
                              .rows = count,
                              .offset = offset,
                              .tokens = tokens,
                              .prompt_length = prompt_length,
                              .response_offset = response_offset};
    return RLHF_OK;
}

double *rlhfi_doubles(rlhfi_trainer *trainer, int64_t count)
{
    double *out = rlhfi_arena_alloc(trainer->arena, (size_t)count + 1, sizeof *out);

    if (out != NULL)
        memset(out, 0, ((size_t)count + 1) * sizeof *out);
    return out;
}

rlhf_status rlhfi_accumulation_draw(rlhfi_trainer *trainer, rlhfi_accumulation *out)
{
    int64_t batch = rlhfi_recipe_integer(trainer->recipe, "per_device_train_batch_size");
    int64_t most = rlhfi_recipe_integer(trainer->recipe, "gradient_accumulation_steps");
    rlhfi_cursor *cursor = &trainer->state.cursor;
    uint64_t epoch, got = 0, rows = trainer->examples->rows, room;

    /* An epoch may be shorter than what is asked for. */
    batch = (uint64_t)batch < rows ? batch : (int64_t)rows;
    most = (uint64_t)most <= rows ? most : (int64_t)rows;
    room = (uint64_t)batch * (uint64_t)most; /* both bounded by the key table: no overflow */
    room = room < rows + (uint64_t)batch ? room : rows + (uint64_t)batch;
    *out = (rlhfi_accumulation){0};
    out->row = rlhfi_arena_alloc(trainer->arena, (size_t)room, sizeof *out->row);
    out->first = rlhfi_arena_alloc(trainer->arena, (size_t)most + 1, sizeof *out->first);
    if (out->row == NULL || out->first == NULL)
        return RLHF_E_NOMEM;
    out->first[0] = 0;
    epoch = cursor->epoch;
    while (out->micro_batches < most) {
        RLHFI_TRY(rlhfi_order_draw(trainer->order, cursor, (uint64_t)batch, 0, out->row + out->rows, &got));
        if (got == 0 && out->rows == 0) { /* the cursor stood behind the last row */
            epoch = cursor->epoch;
            continue;
        }
        if (got > 0) {
            out->rows += (int64_t)got;
            out->first[++out->micro_batches] = out->rows;
        }
        if (got < (uint64_t)batch || cursor->epoch != epoch || cursor->position >= rows)
            break;
    }
    return RLHF_OK;
}

static uint64_t ceiling(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

/* Of an epoch. */
static uint64_t micro_batches(const rlhfi_trainer *trainer, uint64_t rows)
{
    return ceiling(rows, (uint64_t)rlhfi_recipe_integer(trainer->recipe, "per_device_train_batch_size"));
}

double rlhfi_epoch(const rlhfi_trainer *trainer)
{
    const rlhfi_cursor *cursor = &trainer->state.cursor;

    if (trainer->method >= RLHFI_RAFT) /* prompts are not drawn by micro-batches */
        return (double)cursor->epoch + (double)cursor->position / (double)trainer->examples->rows;
    return (double)cursor->epoch +
           (double)micro_batches(trainer, cursor->position) / (double)micro_batches(trainer, trainer->examples->rows);
}

rlhf_status rlhfi_plan_epochs(rlhfi_trainer *trainer)
{
    int64_t most = rlhfi_recipe_integer(trainer->recipe, "max_steps");
    double epochs = rlhfi_recipe_number(trainer->recipe, "num_train_epochs");
    uint64_t accumulation = (uint64_t)rlhfi_recipe_integer(trainer->recipe, "gradient_accumulation_steps");
    double steps = ceil(epochs * (double)ceiling(micro_batches(trainer, trainer->examples->rows), accumulation));

    trainer->total_steps = most > 0 ? (uint64_t)most : steps < 1e15 ? (uint64_t)steps : (uint64_t)1e15;
    trainer->planned_updates = trainer->total_steps;
    return RLHF_OK;
}

void rlhfi_drop_gradients(rlhfi_trainer *trainer)
{
    for (int32_t i = 0; i < trainer->state.roles; i++) {
        rlhfi_model *model = trainer->state.role[i].model;
        if (model->gradient != NULL)
            rlhfi_zero(trainer->context, model->gradient, model->weights->count);
    }
}
