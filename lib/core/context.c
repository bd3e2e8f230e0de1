/* Life of a context: options, creation, description, end. */
#include "core/internal.h"

#include <stdio.h>

enum {
    MOST_THREADS = 1024,
    FIRST_LAYOUT = offsetof(rlhf_context_options, reserved) + sizeof(int32_t) /* the options of version 0.1 */
};

static const rlhf_context_options defaults = {
    .struct_size = sizeof(rlhf_context_options),
    .log_level = RLHF_LOG_WARNING,
    .cpu_mask = UINT32_MAX,
    .use_blis = 0,
};

void rlhf_context_options_init(rlhf_context_options *options, size_t size)
{
    rlhfi_options_init(options, size, &defaults, sizeof defaults);
}

static bool options_valid(const rlhf_context_options *options)
{
    return options->threads >= 0 && options->threads <= MOST_THREADS &&
           (options->allocator.alloc == NULL) == (options->allocator.free == NULL) &&
           options->log_level >= 0 && options->log_level <= RLHF_LOG_DEBUG &&
           (options->use_blis == 0 || options->use_blis == 1) && options->reserved == 0;
}

static void context_destroy(rlhf_context *context)
{
    bool forked = context->process != rlhfi_process_id();
    rlhf_context last = {.allocator = context->allocator}; /* outlives the memory it frees */

    rlhfi_plugin_forget_all(context);
    if (context->products_destroy != NULL)
        context->products_destroy(context);
    rlhfi_pool_destroy(context->pool, context, forked);
    rlhfi_free(&last, context);
}

rlhf_status rlhf_context_create(rlhf_context **out, const rlhf_context_options *options)
{
    rlhf_context_options known = defaults;
    rlhf_context first = {0}; /* only lends its allocator to the allocation of the real one */
    rlhf_context *context;
    rlhf_status status;

    if (out == NULL)
        return RLHF_E_INVAL;
    *out = NULL;
    RLHFI_TRY(rlhfi_options_copy(NULL, &known, sizeof known, options, FIRST_LAYOUT, "context options"));
    if (!options_valid(&known))
        return RLHF_E_INVAL;
    if (known.threads == 0)
        known.threads = rlhfi_system_processors() < MOST_THREADS ? rlhfi_system_processors() : MOST_THREADS;

    first.allocator = known.allocator.alloc != NULL ? known.allocator : rlhfi_default_allocator;
    context = rlhfi_calloc(&first, 1, sizeof *context);
    if (context == NULL)
        return RLHF_E_NOMEM;
    context->references = 1;
    context->allocator = first.allocator;
    context->log = known.log;
    context->log_user_data = known.log_user_data;
    context->log_level = known.log_level;
    context->cpu_mask = known.cpu_mask;
    context->use_blis = known.use_blis;
    context->seed = known.seed;
    context->process = rlhfi_process_id();

    status = rlhfi_pool_create(&context->pool, context, known.threads);
    if (status == RLHF_OK)
        status = rlhfi_compute_attach(context);
    if (status != RLHF_OK) {
        context_destroy(context);
        return status;
    }
    *out = context;
    return RLHF_OK;
}

rlhf_context *rlhfi_context_retain(rlhf_context *context)
{
    context->references++;
    return context;
}

void rlhf_context_release(rlhf_context **context)
{
    if (context == NULL || *context == NULL)
        return;
    if (--(*context)->references == 0)
        context_destroy(*context);
    *context = NULL;
}

size_t rlhf_context_error(const rlhf_context *context, char *buffer, size_t capacity)
{
    return context == NULL ? 0 : rlhfi_copy_out(context->error, buffer, capacity);
}

void rlhf_context_cancel(rlhf_context *context)
{
    if (context != NULL)
        __atomic_store_n(&context->cancel, 1, __ATOMIC_RELAXED);
}

size_t rlhf_context_describe(const rlhf_context *context, char *buffer, size_t capacity)
{
    char text[256];
    int32_t threads;

    if (context == NULL)
        return 0;
    threads = rlhfi_workers(context);
    snprintf(text, sizeof text, "%d thread%s%s%s", threads, threads == 1 ? "" : "s",
                context->compute_text[0] != '\0' ? ", " : "", context->compute_text);
    return rlhfi_copy_out(text, buffer, capacity);
}

int32_t rlhf_context_threads(const rlhf_context *context)
{
    return context == NULL ? 0 : rlhfi_workers(context);
}

rlhf_status rlhf_context_set_seed(rlhf_context *context, uint64_t seed)
{
    RLHFI_TRY(rlhfi_enter(context));
    context->seed = seed;
    return RLHF_OK;
}
