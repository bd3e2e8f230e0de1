/* Chooses the kernels of a context and keeps its buffers. */
#include "compute/state.h"

#include "rlhf_config.h"

#include <stdio.h>

static const rlhfi_kernels *choose_kernels(uint32_t mask)
{
#if RLHFI_HAVE_X86_SIMD
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("bmi2");
    if ((mask & RLHF_CPU_AVX512) != 0 && avx2 && avx512)
        return &rlhfi_kernels_avx512;
    if ((mask & RLHF_CPU_AVX2) != 0 && avx2)
        return &rlhfi_kernels_avx2;
#endif
    return &rlhfi_kernels_scalar;
}

/* The instruction VDPBF16PS where there is one: it reads half the memory per multiplication. */
static rlhfi_block_kernel choose_pairs(const rlhf_context *context)
{
    const rlhfi_kernels *kernels = rlhfi_kernels_of(context);

#if RLHFI_HAVE_X86_SIMD
    if (kernels == &rlhfi_kernels_avx512 && (context->cpu_mask & RLHF_CPU_AVX512_BF16) != 0 &&
        __builtin_cpu_supports("avx512bf16"))
        return rlhfi_product_pairs_avx512_bf16;
#endif
    return kernels->product_pairs;
}

static void compute_destroy(rlhf_context *context)
{
    rlhfi_compute *compute = context->products;

    if (compute == NULL)
        return;
    rlhfi_blis_detach(context);
    rlhfi_free(context, compute->packed.data);
    rlhfi_free(context, compute->rounded.data);
    rlhfi_free(context, compute->partial.data);
    rlhfi_free(context, compute->tile.data);
    rlhfi_free(context, compute->gathered.data);
    rlhfi_free(context, compute->index.data);
    for (int32_t i = 0; i < compute->workers; i++)
        rlhfi_free(context, compute->worker[i].data);
    rlhfi_free(context, compute);
    context->products = NULL;
}

rlhf_status rlhfi_compute_attach(rlhf_context *context)
{
    int32_t workers = rlhfi_workers(context);
    rlhfi_compute *compute =
        rlhfi_calloc(context, 1, sizeof *compute + (size_t)workers * sizeof compute->worker[0]);

    if (compute == NULL)
        return RLHF_E_NOMEM;
    compute->workers = workers;
    context->kernels = choose_kernels(context->cpu_mask);
    context->products = compute;
    compute->bf16.pairs = choose_pairs(context);
    context->products_destroy = compute_destroy;
    rlhfi_blis_attach(context);
    context->error[0] = '\0'; /* BLIS may have found no memory: our own loops do without */
    context->error_status = RLHF_OK;
    rlhfi_compute_describe(context, context->compute_text, sizeof context->compute_text);
    return RLHF_OK;
}

/* A few sizes per doubling: sequences that grow token by token ask for a little more each time. */
size_t rlhfi_buffer_size(size_t count)
{
    size_t step = 64;

    while (step <= count / 8)
        step *= 2;
    return count <= SIZE_MAX - step ? (count + step - 1) / step * step : count;
}

rlhf_status rlhfi_buffer_reserve(rlhf_context *context, rlhfi_buffer *buffer, size_t count)
{
    if (count <= buffer->capacity)
        return RLHF_OK;
    count = rlhfi_buffer_size(count);
    rlhfi_free(context, buffer->data); /* first: the contents are lost anyway, and both at once would be a peak */
    buffer->capacity = 0;
    buffer->data = rlhfi_alloc_array(context, count, sizeof *buffer->data);
    if (buffer->data == NULL)
        return RLHF_E_NOMEM;
    buffer->capacity = count;
    return RLHF_OK;
}

rlhf_status rlhfi_scratch_reserve(rlhf_context *context, size_t count)
{
    rlhfi_compute *compute = rlhfi_compute_of(context);

    for (int32_t i = 0; i < compute->workers; i++)
        RLHFI_TRY(rlhfi_buffer_reserve(context, &compute->worker[i], count));
    return RLHF_OK;
}

rlhf_status rlhfi_compute_match(rlhf_context *context, const rlhf_context *other)
{
    rlhfi_compute *own = rlhfi_compute_of(context);
    const rlhfi_compute *their = rlhfi_compute_of(other);

    RLHFI_TRY(rlhfi_buffer_reserve(context, &own->packed, their->packed.capacity));
    RLHFI_TRY(rlhfi_buffer_reserve(context, &own->rounded, their->rounded.capacity));
    RLHFI_TRY(rlhfi_buffer_reserve(context, &own->partial, their->partial.capacity));
    RLHFI_TRY(rlhfi_buffer_reserve(context, &own->tile, their->tile.capacity));
    RLHFI_TRY(rlhfi_buffer_reserve(context, &own->gathered, their->gathered.capacity));
    RLHFI_TRY(rlhfi_buffer_reserve(context, &own->index, their->index.capacity));
    return rlhfi_scratch_reserve(context, their->worker[0].capacity);
}

struct ranges {
    int64_t count, grain;
    rlhfi_range_task task;
    void *argument;
};

static void run_range(void *argument, int64_t index, int32_t worker)
{
    const struct ranges *ranges = argument;
    int64_t first = index * ranges->grain, end = first + ranges->grain;

    (void)worker;
    ranges->task(ranges->argument, first, end < ranges->count ? end : ranges->count);
}

void rlhfi_parallel_ranges(rlhf_context *context, int64_t count, int64_t grain, rlhfi_range_task task, void *argument)
{
    struct ranges ranges = {count, grain, task, argument};

    if (count <= 0)
        return;
    if (count <= grain)
        task(argument, 0, count);
    else
        rlhfi_parallel(context, (count + grain - 1) / grain, run_range, &ranges);
}

int64_t rlhfi_rows_per_piece(int64_t width, int64_t elements)
{
    int64_t rows = width > 0 ? elements / width : elements;

    return rows > 0 ? rows : 1;
}

size_t rlhfi_compute_describe(const rlhf_context *context, char *buffer, size_t capacity)
{
    bool blis = rlhfi_compute_of(context)->blis != NULL;
    char text[160];
    int length = snprintf(text, sizeof text, "%s kernels, products by %s%s", rlhfi_kernels_of(context)->name,
                          blis ? "own loops and BLIS " : "own loops", blis ? rlhfi_blis_version() : "");
    size_t size = (size_t)length < sizeof text ? (size_t)length + 1 : sizeof text;

    if (capacity > 0) {
        size_t copied = size < capacity ? size - 1 : capacity - 1;
        memcpy(buffer, text, copied);
        buffer[copied] = '\0';
    }
    return size;
}
