/* Inside a program that has a loop of its own, such as a game: an inn whose host is trained while the guests are there.
 * The host program keeps control all the time: memory comes from its allocator and counts against its budget, one
 * thread works, a frame takes one training step or none, and another thread may end it all at any moment.
 *
 *     embed_in_loop [MODEL REWARD_MODEL PROMPTS.jsonl] */
#include "tiny_world.h"

#include <stdatomic.h>

enum { FRAMES = 60, BUDGET = 64 << 20 };

/* ---- the program's memory: aligned, counted, refused beyond the budget ------------------------------------------- */

typedef struct memory {
    atomic_size_t used, peak;
} memory;

static void *take(void *user_data, size_t size, size_t alignment)
{
    memory *self = user_data;
    size_t now = atomic_fetch_add(&self->used, size) + size, peak = atomic_load(&self->peak);
    void *pointer = now <= BUDGET ? aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment) : NULL;

    if (pointer == NULL)
        atomic_fetch_sub(&self->used, size); /* the library says RLHF_E_NOMEM, and everything is as before */
    while (pointer != NULL && now > peak && !atomic_compare_exchange_weak(&self->peak, &peak, now)) {
    }
    return pointer;
}

static void give_back(void *user_data, void *pointer, size_t size)
{
    atomic_fetch_sub(&((memory *)user_data)->used, size);
    free(pointer);
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

static rlhf_status answer_guest(rlhf_policy *policy, const rlhf_tokenizer *tokenizer, const rlhf_dataset *prompts,
                                int frame)
{
    char title[32];

    snprintf(title, sizeof title, "frame %d", frame);
    return print_samples(title, policy, tokenizer, prompts, 2);
}

int main(int argc, char **argv)
{
    memory memory = {0};
    rlhf_context_options machine;
    rlhf_context *context = NULL;
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_policy *policy = NULL;
    rlhf_reward_model *judge = NULL;
    rlhf_dataset *prompts = NULL;
    rlhf_recipe *recipe = NULL;
    rlhf_trainer *trainer = NULL;
    rlhf_trainer_options options;
    rlhf_progress progress = {.struct_size = sizeof progress};
    tiny_world world;
    rlhf_status status;
    int steps = 0;

    rlhf_context_options_init(&machine, sizeof machine);
    machine.threads = 1; /* the program's own; 0 would take all processors */
    machine.allocator = (rlhf_allocator){take, give_back, &memory};
    TRY(rlhf_context_create(&context, &machine));
    if (argc < 4)
        TRY(tiny_world_make(&world, context));
    TRY(rlhf_tokenizer_load(&tokenizer, context, argc < 4 ? world.model : argv[1]));
    TRY(rlhf_policy_load(&policy, context, argc < 4 ? world.model : argv[1], NULL));
    TRY(rlhf_reward_model_load(&judge, context, argc < 4 ? world.reward : argv[2], NULL));
    TRY(rlhf_dataset_load(&prompts, context, argc < 4 ? world.prompts : argv[3], NULL));
    TRY(rlhf_recipe_create(&recipe, context, "reinforce"));
    TRY(rlhf_recipe_set(recipe, "max_steps", "20"));
    TRY(rlhf_recipe_set(recipe, "per_device_train_batch_size", "16"));
    TRY(rlhf_recipe_set(recipe, "response_length", "10"));
    TRY(rlhf_recipe_set(recipe, "learning_rate", "0.003"));
    rlhf_trainer_options_init(&options, sizeof options);
    options.policy = policy;
    options.tokenizer = tokenizer;
    options.reward_model = judge;
    options.dataset = prompts;
    options.output_dir = "";
    TRY(rlhf_trainer_create(&trainer, context, recipe, &options));

    for (int frame = 0; frame < FRAMES; frame++) {
        /* ... input, physics, drawing ... and every third frame has time to spare. */
        if (frame % 3 == 0) {
            status = rlhf_trainer_step(trainer);
            if (status == RLHF_E_END || status == RLHF_E_CANCELED) {
                printf("frame %d: %s\n", frame, rlhf_status_name(status));
                break;
            }
            TRY(status);
            steps++;
        }
        if (frame % 20 == 19) /* the policy may be used between steps */
            TRY(answer_guest(policy, tokenizer, prompts, frame));
        if (frame == 50) /* the guests leave: any thread or signal handler may say so */
            rlhf_context_cancel(context);
    }
    TRY(rlhf_trainer_progress(trainer, &progress));
    printf("%d steps, %d tokens, %.0f ms in the library, at most %.1f MB\n", steps, (int)progress.tokens,
           1000 * progress.seconds[0], (double)memory.peak / 1e6);
done:
    status = finish(context, status) == 0 ? RLHF_OK : status;
    rlhf_trainer_release(&trainer);
    rlhf_recipe_release(&recipe);
    rlhf_dataset_release(&prompts);
    rlhf_reward_model_release(&judge);
    rlhf_policy_release(&policy);
    rlhf_tokenizer_release(&tokenizer);
    rlhf_context_release(&context);
    printf("still in use after the release: %zu bytes\n", (size_t)memory.used);
    return status == RLHF_OK && memory.used == 0 ? 0 : 1;
}
